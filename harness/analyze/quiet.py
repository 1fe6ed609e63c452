"""Whether nothing happened: no alert, no action, in the whole run.

The one expectation that an empty record would meet best. So silence is asked for its witnesses: the
monitored series must be on record and go on to the end of the load, the dead-man's alert (which is
no noise) must have been heard throughout where there is one, and the audit trail must have been
read to its end.
"""

from typing import Final

from harness.analyze.detection import EVALUATION_S, firing, lost_series, scrape_s
from harness.analyze.hearing import deaf_from_s, known
from harness.analyze.oracle import cut_off_s
from harness.model.analysis import Verdict
from harness.model.dead_man import is_dead_man
from harness.model.events import Noted
from harness.model.record import Record
from harness.model.scenario import ExpectQuiet

STALE_SCRAPES: Final = 5


def quiet(expect: ExpectQuiet, record: Record) -> tuple[Verdict, str]:
    """Decide it. Silence counts only where somebody was there to speak, and was heard."""
    if expect.what == "actions":
        found = sorted({a.what for a in record.actions if a.what not in expect.allow})
    else:
        heard = {
            a.labels.get("alertname", "?")
            for a in record.alerts
            if a.status == "firing" and not is_dead_man(a.labels)
        }
        shown = {
            s.labels.get("alertname", "?") for s in firing(record, {}) if bool((s.value > 0).any())
        }
        found = sorted((heard | shown) - set(expect.allow))
    if found:
        return Verdict.FAIL, f"there were {expect.what}: {', '.join(found)}"
    if not record.complete or not len(record.requests) or cut_off_s(record) is not None:
        return Verdict.UNKNOWN, f"no {expect.what} on record, but the run was cut short"
    if (blind := _unwatched(expect, record)) is not None:
        return Verdict.UNKNOWN, f"no {expect.what} on record, but {blind}"
    return Verdict.PASS, f"no {expect.what} in the whole run"


def _unwatched(expect: ExpectQuiet, record: Record) -> str | None:
    """Why silence says nothing: whoever should have spoken was not listened to, or was dead."""
    if expect.what == "actions":
        late = [e.text for e in record.of(Noted) if e.t >= record.load_end_s]
        failed = [text for text in late if text.startswith("audit failed")]
        return f"the audit trail was not read to its end ({failed[0]})" if failed else None
    if (lost := lost_series(record)) is not None:
        return lost
    newest_s = max((float(s.t[-1]) for s in record.series if len(s.t)), default=None)
    if newest_s is None:
        return "no monitored series shows that anything was watching"
    stale_s = record.load_end_s - newest_s
    if stale_s > STALE_SCRAPES * (scrape_s(record) or EVALUATION_S):
        return f"nothing was watching in the last {stale_s:.1f} s: no series goes on until then"
    start_s = record.load_start_s or 0.0
    if (deaf_s := deaf_from_s(record, start_s, record.load_end_s)) is not None:
        return f"the alerting was not heard from +{deaf_s - start_s:.1f} s on ({known(record)})"
    return None
