"""Writes one word into a file, and can be told to misbehave in each way that a fault might."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from harness import Evidence, Node, Undo, Window, fault, param

Way = Literal[
    "well", "die_before", "die_half", "die_after", "stop_before", "stop_after", "hang",
    "heal_raises", "heal_hangs", "heal_blocks",
]  # fmt: skip


@runtime_checkable
class Written(Protocol):
    """State that can be read and written by key."""

    def read(self) -> dict[str, str]: ...

    def put(self, node: str, value: str) -> None: ...


@fault
@dataclass(frozen=True, slots=True)
class Spoil:
    """The nodes' words become ``spoilt``."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = ({"way": "well"},) * 5
    roles: ClassVar[tuple[str, ...]] = ("part",)

    way: Way = param("well", "how it goes wrong, if it does")

    async def prepare(self, target: Written, nodes: Sequence[Node]) -> Undo:
        return {"was": {node: target.read()[node] for node in nodes}}

    async def inject(self, target: Written, nodes: Sequence[Node], undo: Undo) -> None:
        match self.way:
            case "die_before":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop_before":
                os.kill(os.getpid(), signal.SIGSTOP)
        for number, node in enumerate(nodes):
            if self.way == "die_half" and number == len(nodes) // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            target.put(node, "spoilt")
        match self.way:
            case "die_after":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop_after":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                time.sleep(7)  # noqa: ASYNC251 (the loop must hang)

    async def verify(self, target: Written, nodes: Sequence[Node]) -> bool:
        return any(target.read()[node] == "spoilt" for node in nodes)

    async def heal(self, target: Written, nodes: Sequence[Node], undo: Undo | None) -> None:
        match self.way:
            case "heal_raises":
                raise RuntimeError("this heal never works")
            case "heal_hangs":
                await asyncio.Event().wait()
            case "heal_blocks":
                time.sleep(60)  # noqa: ASYNC251 (as bad as it gets)
        was = undo["was"] if undo else {}
        for node in nodes:
            target.put(node, was.get(node, "healthy"))

    def evidence(self, before: Window, during: Window) -> Evidence:
        return Evidence(True, "it is written")
