"""What people see while a run runs: one screen on a terminal, plain lines anywhere else."""

import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from harness import units
from harness.model import events as ev
from harness.model.dead_man import is_dead_man
from harness.model.plan import Plan
from harness.run.folder import Folder
from harness.run.tally import Second

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_EVERY_S = 5
LOG_LINES = 12


class Live(Protocol):
    """Somebody watching."""

    def event(self, event: ev.Event) -> None:
        """Something was written to the record."""

    def second(self, second: Second) -> None:
        """A second of load is over."""

    def say(self, text: str) -> None:
        """The harness says what it does."""


@contextlib.contextmanager
def live_view(plan: Plan, folder: Folder, *, plain: bool, quiet: bool) -> Iterator[Live]:
    """Choose the view that fits where the output goes."""
    if quiet:
        yield _Quiet()
    elif plain or not sys.stdout.isatty():
        view = _Plain()
        view.say(_title(plan, folder))
        yield view
    else:
        from rich.live import Live as Screen

        screen = _Screen(plan)
        with Screen(get_renderable=screen.draw, refresh_per_second=4) as shown:
            screen.log(_title(plan, folder))
            yield screen
            shown.refresh()


@contextlib.contextmanager
def brief_view(*, quiet: bool) -> Iterator[Live]:
    """For one run of several: the turns it takes, indented, without the numbers in between."""
    yield _Quiet() if quiet else _Brief()


def worded(event: ev.Event) -> str | None:
    """Put one event into words, or ``None`` for those too many to tell."""
    match event:
        case ev.StackUp():
            return f"stack is up after {event.took_s:.1f}s"
        case ev.StackDown():
            return f"stack is down after {event.took_s:.1f}s"
        case ev.PhaseEntered():
            return f"phase {event.phase}"
        case ev.Gated():
            return (
                f"steady-state gate {'passed' if event.passed else 'NOT passed'}: {event.because}"
            )
        case ev.FaultIntended():
            return f"fault {event.id}: injecting into {', '.join(event.nodes)}"
        case ev.FaultInjected():
            return f"fault {event.id}: in force"
        case ev.FaultHealing():
            return f"fault {event.id}: healing"
        case ev.FaultHealed():
            return f"fault {event.id}: healed"
        case ev.FaultFailed():
            return f"fault {event.id}: {event.stage} FAILED: {event.error}"
        case ev.Alerted() if is_dead_man(event.labels):
            return None
        case ev.Alerted():
            extra = ", ".join(f"{k}={v}" for k, v in sorted(event.labels.items()) if k in _LABELS)
            name = event.labels.get("alertname", "?")
            return f"alert {event.status}: {name}" + (f" ({extra})" if extra else "")
        case ev.Acted():
            return f"action by {event.who}: {event.what} on {event.target} ({event.why})"
        case ev.Aborted():
            return f"ABORTED by {event.by}: {event.because}"
        case ev.Noted():
            return f"note: {event.text}"
        case _:
            return None


_LABELS = ("feature", "node", "severity")


def _title(plan: Plan, folder: Folder) -> str:
    scenario = plan.scenario
    return (
        f"{scenario.name} on {scenario.stack}, seed {plan.seed}: {len(plan.due_ns)} requests over "
        f"{units.spell(plan.ends_s)}; run {folder.run}"
    )


def _numbers(second: Second) -> str:
    def ratio(value: float | None) -> str:
        return "no data" if value is None else f"{100 * value:.1f}%"

    p99 = "no data" if second.latency_p99_ms is None else f"{second.latency_p99_ms:.0f}ms"
    return (
        f"{second.completed:4d} req/s  success {ratio(second.success_ratio)}  "
        f"correct {ratio(second.paired_correctness)}  p99 {p99}  "
        f"fallback {ratio(second.fallback_share)}"
    )


class _Quiet:
    def event(self, event: ev.Event) -> None:
        pass

    def second(self, second: Second) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class _Brief(_Quiet):
    """The phases, and what became of the fault; the rest is in the run's own report."""

    KINDS = (ev.PhaseEntered, ev.FaultInjected, ev.FaultHealed, ev.FaultFailed, ev.Aborted)

    def event(self, event: ev.Event) -> None:
        if isinstance(event, self.KINDS) and (words := worded(event)) is not None:
            print(f"      {event.t:6.1f}s  {words}", flush=True)


class _Plain:
    """Lines for a log: one per event that matters, and the numbers every few seconds."""

    def __init__(self) -> None:
        self._t = 0.0

    def event(self, event: ev.Event) -> None:
        self._t = event.t if event.t > self._t else self._t
        if (words := worded(event)) is not None:
            self._print(event.t, words)

    def second(self, second: Second) -> None:
        if int(second.t) % PLAIN_EVERY_S == 0:
            self._print(self._t, _numbers(second))

    def say(self, text: str) -> None:
        self._print(self._t, text)

    def _print(self, t: float, text: str) -> None:
        print(f"{t:7.1f}s  {text}", flush=True)


class _Screen:
    """One screen: phase, numbers, faults, alerts, and the last events."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._phase = "starting"
        self._second: Second | None = None
        self._faults: dict[str, str] = {}
        self._alerts: dict[str, str] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._t = 0.0

    def event(self, event: ev.Event) -> None:
        self._t = max(self._t, event.t)
        match event:
            case ev.PhaseEntered():
                self._phase = event.phase
            case ev.FaultInjected():
                self._faults[event.id] = "in force"
            case ev.FaultHealing():
                self._faults[event.id] = "healing"
            case ev.FaultHealed():
                self._faults[event.id] = "healed"
            case ev.Alerted() if not is_dead_man(event.labels):
                key = " ".join(v for k, v in sorted(event.labels.items()) if k in _NAMING)
                if event.status == "firing":
                    self._alerts[key] = event.labels.get("severity", "")
                else:
                    self._alerts.pop(key, None)
            case _:
                pass
        if (words := worded(event)) is not None:
            self._log.append(f"{event.t:6.1f}s  {words}")

    def second(self, second: Second) -> None:
        self._second = second

    def say(self, text: str) -> None:
        self.log(text)

    def log(self, text: str) -> None:
        self._log.append(f"{self._t:6.1f}s  {text}")

    def draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        at = f"{self._second.t:.0f}s of {self._plan.ends_s:.0f}s" if self._second else ""
        table.add_row("phase", Text(f"{self._phase}  {at}"))
        table.add_row("load", Text(_numbers(self._second) if self._second else "not yet"))
        faults = ", ".join(f"{id} {state}" for id, state in self._faults.items())
        table.add_row("faults", Text(faults or "none in force"))
        table.add_row("alerts", Text(", ".join(self._alerts) or "none firing"))
        title = Text(self._plan.scenario.name)
        return Group(Panel(table, title=title, title_align="left"), Text("\n".join(self._log)))


_NAMING = ("alertname", "feature", "node")
