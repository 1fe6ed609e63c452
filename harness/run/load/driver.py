"""The harness's side of the load: start the process, hear it out, stop it. Plain asyncio.

The child gets a session of its own, so that a Ctrl-C at the terminal reaches the harness only,
which then decides; and it watches its stdin, so that it dies with a harness that was killed.
Whatever way ``start``, ``summaries`` or ``stop`` end, ``stop`` leaves no process behind.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from harness.model.environment import inherited
from harness.run.load import (
    Bodies,
    Lateness,
    LoadReport,
    LoadSpec,
    Summary,
    offsets_path,
    write_bodies,
)

__all__ = [
    "Bodies",
    "Lateness",
    "LoadDriver",
    "LoadFailed",
    "LoadReport",
    "LoadSpec",
    "Summary",
    "offsets_path",
    "write_bodies",
]

_READY_WITHIN_S = 30.0
_REPORT_WITHIN_S = 3.0
_LOG_TAIL = 2000
_ROOT = Path(__file__).resolve().parents[3]


class LoadFailed(RuntimeError):
    """The load process could not start, or ended without its report. Says why."""


class LoadDriver:
    """One load. ``start``, then iterate ``summaries``, then ``stop``: each once."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._log = Path()
        self._ready: asyncio.Future[int] | None = None
        self._summaries: asyncio.Queue[Summary | None] = asyncio.Queue()
        self._failure = ""
        self._report: LoadReport | None = None
        self._connections = 0

    @property
    def pid(self) -> int | None:
        """The load process, once started."""
        return self._process.pid if self._process else None

    @property
    def connections(self) -> int:
        """How many connections were open when it was ready; fewer than users = refusals."""
        return self._connections

    @property
    def report(self) -> LoadReport | None:
        """The report, once the load is over."""
        return self._report

    async def start(self, spec: LoadSpec) -> None:
        """Start the process; return when its users are spawned and their connections open.

        Its stderr goes to a ``.log`` beside ``spec.out_file``. Nothing is sent before
        ``spec.zero_ns`` plus the first due instant; slots due before it is ready leave late, and
        say so. Raises ``LoadFailed``; then, and when cancelled, nothing is left running.
        """
        self._log = spec.out_file.with_suffix(".log")
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "harness.run.load.process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**inherited(os.environ), "PYTHONPATH": os.pathsep.join(paths)},
            )
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            self._say(spec.to_json())
            async with asyncio.timeout(_READY_WITHIN_S):
                self._connections = await self._ready
        except TimeoutError:
            await self._end()
            raise self._failed(f"was not ready within {_READY_WITHIN_S:g} s") from None
        except BaseException:
            await self._end()
            raise

    async def summaries(self) -> AsyncIterator[Summary]:
        """Each second's summary as it comes, until the load is over.

        Raises ``LoadFailed`` when the process ends without a report.
        """
        while (summary := await self._summaries.get()) is not None:
            yield summary
        self._summaries.put_nowait(None)  # for whoever asks again
        if self._report is None:
            raise self._failed("ended without its report")

    async def stop(self, grace_s: float) -> LoadReport:
        """Cancel the slots not yet due, wait ``grace_s`` for the rest, and end the process.

        A load that is over already is only reported. May be called again. Raises ``LoadFailed``
        when there is no report; even then the process is gone.
        """
        if self._process is None or self._reader is None:
            raise LoadFailed("the load was never started")
        try:
            if self._report is None:
                self._say({"stop": grace_s})
            # Shielded: a caller that is cancelled here still gets the process ended below.
            async with asyncio.timeout(grace_s + _REPORT_WITHIN_S):
                await asyncio.shield(self._reader)
        except TimeoutError:
            self._failure = self._failure or f"gave no report {grace_s:g} s after being stopped"
        finally:
            await self._end()
        if self._report is None:
            raise self._failed("ended without its report")
        return self._report

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take in every line the process says, until it has nothing more to say."""
        assert process.stdout is not None and self._ready is not None
        try:
            async for line in process.stdout:
                self._hear(json.loads(line))
            await process.wait()
        finally:
            self._summaries.put_nowait(None)
            if not self._ready.done():
                self._ready.set_exception(self._failed("ended before it was ready"))

    def _hear(self, message: dict[str, Any]) -> None:
        assert self._ready is not None
        match message.pop("kind"):
            case "ready":
                if not self._ready.done():
                    self._ready.set_result(message["connections"])
            case "summary":
                self._summaries.put_nowait(Summary(**message))
            case "report":
                self._report = LoadReport.from_json(message)
            case "failed":
                self._failure = message["message"]
            case other:
                raise LoadFailed(f"the load process said {other!r}: both sides must be one version")

    async def _end(self) -> None:
        """Leave no process behind."""
        process, reader = self._process, self._reader
        assert process is not None and reader is not None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        with contextlib.suppress(Exception):
            await reader
        if process.stdin is not None:
            process.stdin.close()

    def _failed(self, what: str) -> LoadFailed:
        process = self._process
        status = "" if process is None or process.returncode is None else f" ({process.returncode})"
        with contextlib.suppress(OSError):
            tail = self._log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").strip()
            what = f"{what}{status}: {self._failure or tail or 'it said nothing'}; see {self._log}"
        return LoadFailed(f"the load process {what}")
