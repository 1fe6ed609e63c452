"""A model that has been overtaken, and serves on.

Somebody promotes the wrong version: a rollback that went one too far, a copied command, a script
with last quarter's number in it. Or the job that validates the model every few minutes was paused
for a migration and nobody switched it on again. The artefact is whole, signed and well; it answers
everything in time, and nothing fails. It is only wrong more often than the one that it replaced,
and what that costs depends on how old it is. Good looks like an alert on the model's age, which
knows no grace for old acquaintances, and a pin to the version that is known to be good, until
somebody has put the name right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import Ageable, Ageing, Defence, Evidence, Node, Undo, Window, fault, param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LATE = "refresh_late_s"  # the probe; 0 while the model is refreshed
ENOUGH = 20  # answers of another version, to believe that it was served


@fault
@dataclass(frozen=True, slots=True)
class ServeStaleModel:
    """An old version becomes champion, or the champion is refreshed no more."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"back": 1},
        {"back": 2},
        {"back": 3},
        {"back": 4},
        {"back": 5},
    )
    roles: ClassVar[tuple[str, ...]] = ("registry",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert ModelStale",
            "detection",
            "nothing about an old model fails; its age alone gives it away at once",
        ),
        Defence(
            "runbook pin_model",
            "mitigation",
            "it serves what is known to be good, whatever the registry's champion is",
        ),
    )

    mode: Ageing = param(
        "promote_old", "promote_old: an old version becomes champion; stop_refresh: it only ages"
    )
    back: int = param(
        5,
        "releases back to the version that is promoted; 4 knew no departure delay, 5 none at all",
        ge=1,
        le=5,
    )

    async def prepare(self, target: Ageable, nodes: Sequence[Node]) -> Undo:
        """Remember which version is champion, or that it is refreshed."""
        return {"permit": await target.ageable(nodes, self.mode)}

    async def inject(self, target: Ageable, nodes: Sequence[Node], undo: Undo) -> None:
        """Promote, or stop."""
        await target.age(self.mode, self.back, undo["permit"])

    async def verify(self, target: Ageable, nodes: Sequence[Node]) -> bool:
        """In force once a replica serves another version, or nobody refreshes it."""
        return await target.aged(self.mode)

    async def heal(self, target: Ageable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Name the version that was, or refresh it again."""
        await target.freshen(self.mode, undo["permit"] if undo else None)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """Answers must bear another version than any before, or the refresh must have been late.

        Whether they were worse decides nothing here: a version of last month hardly is.
        """
        if self.mode == "stop_refresh":
            usual, now = _latest_s(before), _latest_s(during)
            if usual is None or now is None:
                return Evidence(False, f"no reading of {LATE} both before and during")
            return Evidence(
                usual == 0 and now > 0,
                f"the champion went {now:.1f} s without a refresh; {usual:.1f} s before",
            )
        usual_versions = set(_versions(before).tolist())
        if not usual_versions:
            return Evidence(False, "the champion gave no answers before")
        served = _versions(during)
        other = [version for version in served.tolist() if version not in usual_versions]
        named = ", ".join(sorted({version.decode("ascii", "replace") for version in other}))
        return Evidence(
            len(other) >= ENOUGH,
            f"{len(other)} of {len(served)} answers of the champion were by {named or 'no other'}, "
            "a version that gave none before",
        )


def _versions(window: Window) -> "NDArray[np.bytes_]":
    """The version of each answer that the champion itself gave."""
    rows = window.requests.rows
    chosen: NDArray[np.bytes_] = rows["version"][
        (rows["model"] == b"champion") & (rows["fallback"] == b"none")
    ]
    return chosen


def _latest_s(window: Window) -> float | None:
    found = [sample.value for sample in window.samples if sample.probe == LATE]
    return max(found) if found else None
