"""The load against targets that behave, stall, hang up and are not there."""

import asyncio
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from harness.model.rows import ERROR, OK, TIMEOUT
from harness.run.load.driver import LoadDriver, LoadReport, Summary
from tests.harness.load_rig import (
    CASES,
    PROMPT_S,
    Asked,
    Outcome,
    drive,
    every,
    only,
    read_rows,
    spec_for,
)

pytestmark = pytest.mark.busy

# --- a server that behaves


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    dice = np.random.default_rng(7)
    due_s = np.cumsum(dice.exponential(1 / 300, 600))
    cases = dice.integers(0, CASES, 600)
    folder = tmp_path_factory.mktemp("healthy")
    return asyncio.run(drive(folder, Asked.reply, due_s, cases, lead_s=PROMPT_S))


def test_every_arrival_has_exactly_one_row_with_its_own_case(healthy: Outcome) -> None:
    due_ns = np.load(healthy.spec.due_ns_file)
    cases = np.load(healthy.spec.cases_file)
    assert healthy.rows["due_ns"].tolist() == due_ns.tolist()
    assert healthy.rows["case"].tolist() == cases.tolist()


def test_what_the_answer_said_is_in_its_row(healthy: Outcome) -> None:
    rows, case = healthy.rows, healthy.rows["case"]
    assert (rows["outcome"] == OK).all()
    assert (rows["status"] == 200).all()
    assert (rows["mask"] == case).all()
    assert (rows["prediction"] == case % 2).all()
    assert np.allclose(rows["score"], case / 100)
    assert (rows["model"] == b"champion").all()
    assert rows["node"].tolist() == [b"replica-%d" % (c % 2) for c in case]
    assert rows["version"].tolist() == [b"v%d" % c for c in case]
    assert rows["fallback"].tolist() == [b"cache" if c == 3 else b"none" for c in case]


def test_no_request_leaves_before_it_is_due_and_times_never_run_backwards(healthy: Outcome) -> None:
    rows = healthy.rows
    assert (rows["due_ns"] - rows["sent_ns"]).max() < 1_000_000  # it may go 20 us early
    assert (rows["sent_ns"] < rows["first_ns"]).all()
    assert (rows["first_ns"] <= rows["end_ns"]).all()


def test_connections_are_opened_before_the_run_and_kept(healthy: Outcome) -> None:
    assert healthy.report.connections == healthy.spec.users
    assert not healthy.rows["new_conn"].any()


def test_locusts_request_event_fires_once_per_row(healthy: Outcome) -> None:
    assert healthy.report.locust_requests == len(healthy.rows)


def test_the_report_adds_up_and_names_its_schedule(healthy: Outcome) -> None:
    report, spec = healthy.report, healthy.spec
    assert (report.planned, report.sent, report.ok) == (600, 600, 600)
    assert report.expired == report.never_sent == report.errors == report.timeouts == 0
    lag_ms = (healthy.rows["sent_ns"] - healthy.rows["due_ns"]) / 1e6
    assert report.lag.p99_ms == pytest.approx(np.percentile(lag_ms, 99))
    assert report.lag.late_ratio == (lag_ms > 100).mean()
    assert report.cpu_s > 0
    schedule = np.load(spec.due_ns_file).tobytes() + np.load(spec.cases_file).tobytes()
    assert report.schedule_sha256 == hashlib.sha256(schedule).hexdigest()


def test_summaries_come_each_second_and_tell_what_the_rows_tell(healthy: Outcome) -> None:
    first = healthy.summaries[0]
    ended = healthy.rows[healthy.rows["end_ns"] < 1e9]
    assert [s.t_s for s in healthy.summaries] == [1.0 + i for i in range(len(healthy.summaries))]
    assert first.completed == pytest.approx(len(ended), abs=20)
    assert first.ok == first.completed
    assert first.fallbacks == {"cache": pytest.approx((ended["fallback"] == b"cache").sum(), abs=5)}
    assert first.latency_p50_ms is not None and first.lag_p50_ms is not None
    assert first.latency_p50_ms > first.lag_p50_ms


# --- servers that do not


def test_latency_counts_from_the_due_instant_while_the_backlog_waits(tmp_path: Path) -> None:
    held: list[tuple[Asked, int]] = []
    open_again = False

    def answer(peer: Asked, case: int) -> None:
        peer.reply(case) if open_again else held.append((peer, case))

    async def release(driver: LoadDriver, _: list[Asked]) -> None:
        nonlocal open_again
        async for summary in driver.summaries():
            if summary.t_s == 1.0:
                seen.append(summary)
                open_again = True
                for peer, case in held:
                    peer.reply(case)

    seen: list[Summary] = []
    out = asyncio.run(
        drive(
            tmp_path,
            answer,
            every(0.01, 100),
            np.arange(100) % CASES,
            meddle=release,
            users=4,
            lead_s=PROMPT_S,
        )
    )
    (stalled,) = seen
    assert (stalled.in_flight, stalled.completed, stalled.lag_p50_ms) == (4, 0, None)
    assert stalled.backlog + 4 == 100  # all due by then; none dropped
    rows = out.rows
    assert len(rows) == 100 and (rows["outcome"] == OK).all()
    assert len(held) == 4  # connections are bounded
    assert rows["end_ns"].min() >= 1.0e9
    waited = rows[4:]
    assert (waited["sent_ns"] >= 1.0e9).all()
    assert out.report.lag.late_ratio > 0.5, "it left late because no user was free"
    assert out.report.lag.p50_ms > out.report.dispatch.p50_ms + 100, "the dispatcher was not late"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One load whose every case meets another mishap."""

    def answer(peer: Asked, case: int) -> None:
        match case:
            case 0:
                peer.reply(case)
            case 1:
                peer.reply(case, status=503, body=b'{"error":"no replica"}')
            case 2:
                peer.reply(case, body=b"<html>not what you asked for</html>")
            case 3:
                peer.reply(case, body=b'{"outputs":[{"name":"late","data":[1]}]}')
            case 4:
                pass  # never an answer
            case 5:
                peer.transport.abort()
            case 6:
                peer.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf")
                peer.transport.close()
            case 7:
                peer.reply(case)
                peer.transport.close()  # without saying so: what an idle limit does

    folder = tmp_path_factory.mktemp("mixed")
    return asyncio.run(
        drive(folder, answer, every(0.01, 160), np.arange(160) % CASES, timeout_s=1.0, users=32)
    )


@pytest.mark.parametrize(
    ("case", "outcome", "status"),
    [(0, OK, 200), (1, ERROR, 503), (2, ERROR, 200), (3, ERROR, 200), (4, TIMEOUT, 0)]
    + [(5, ERROR, 0), (6, ERROR, 0), (7, OK, 200)],
)
def test_each_mishap_has_its_outcome(mixed: Outcome, case: int, outcome: int, status: int) -> None:
    rows = mixed.rows[mixed.rows["case"] == case]
    assert len(rows) == 20
    assert (rows["outcome"] == outcome).all()
    assert (rows["status"] == status).all()


def test_an_answer_that_cannot_be_read_still_tells_who_gave_it(mixed: Outcome) -> None:
    for case in (1, 2, 3):
        rows = mixed.rows[mixed.rows["case"] == case]
        assert (rows["version"] == b"v%d" % case).all()
        assert (rows["prediction"] == -1).all()
        assert np.isnan(rows["score"]).all()


def test_a_request_without_an_answer_is_given_up_when_its_time_is_up(mixed: Outcome) -> None:
    rows = mixed.rows[mixed.rows["outcome"] == TIMEOUT]
    took_s = (rows["end_ns"] - rows["due_ns"]) / 1e9
    assert took_s.min() >= 1.0
    assert took_s.max() < 2.0
    assert (rows["first_ns"] == rows["end_ns"]).all()


def test_a_connection_closed_while_idle_is_opened_again_and_is_no_error(mixed: Outcome) -> None:
    assert mixed.rows["new_conn"].any()
    assert (mixed.rows["outcome"][mixed.rows["case"] == 0] == OK).all()


def test_a_target_that_is_not_there_is_an_error_per_request(tmp_path: Path) -> None:
    async def main() -> LoadReport:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        driver = LoadDriver()
        await driver.start(spec_for(tmp_path, port, every(0.01, 20), only(0, 20), users=4))
        _ = [summary async for summary in driver.summaries()]
        return await driver.stop(1.0)

    report = asyncio.run(main())
    rows = read_rows(tmp_path / "requests.bin")
    assert (report.connections, report.errors, len(rows)) == (0, 20, 20)
    assert (rows["outcome"] == ERROR).all() and (rows["status"] == 0).all()
    assert rows["new_conn"].all()
    assert "refused" in (tmp_path / "requests.log").read_text()


def test_slots_that_find_no_user_in_time_are_timeouts_and_not_dropped(tmp_path: Path) -> None:
    def never(_: Asked, __: int) -> None:
        pass

    out = asyncio.run(drive(tmp_path, never, every(0.02, 50), only(0, 50), timeout_s=0.5, users=2))
    report = out.report
    assert len(out.rows) == 50 and (out.rows["outcome"] == TIMEOUT).all()
    assert report.expired > 0
    assert report.sent + report.expired == report.planned == report.timeouts == 50


def test_slots_already_due_when_the_load_is_ready_leave_late_and_say_so(tmp_path: Path) -> None:
    out = asyncio.run(
        drive(
            tmp_path,
            Asked.reply,
            every(0.0, 20),
            only(0, 20),
            zero_ns=time.monotonic_ns() - 3_000_000_000,
        )
    )
    assert (out.rows["outcome"] == OK).all()
    assert out.report.lag.late_ratio == out.report.dispatch.late_ratio == 1.0
