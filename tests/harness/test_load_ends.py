"""How the load ends, whoever ends it, and what it refuses to begin."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from harness.model.rows import OK, ROW, TIMEOUT
from harness.run.load.driver import Bodies, LoadDriver, LoadFailed, write_bodies
from tests.harness.load_rig import (
    CASES,
    Asked,
    alive,
    drive,
    every,
    only,
    spec_for,
    until,
)

pytestmark = pytest.mark.busy

# --- ending it


GONE_WITHIN_S = 5.0
LONG_S = every(0.01, 6000)


def test_sigterm_ends_it_with_every_due_request_on_file(tmp_path: Path) -> None:
    asked: list[int] = []

    def slowly(peer: Asked, case: int) -> None:
        asked.append(case)
        asyncio.get_running_loop().call_later(0.2, peer.reply, case)

    async def terminate(driver: LoadDriver, _: list[Asked]) -> None:
        await until(lambda: len(asked) > 50)
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGTERM)
        async for _summary in driver.summaries():
            pass

    cases = np.arange(len(LONG_S)) % CASES
    out = asyncio.run(drive(tmp_path, slowly, LONG_S, cases, meddle=terminate))
    assert out.report.never_sent > 5000
    assert len(out.rows) == out.report.sent == len(asked)
    assert (out.rows["outcome"] == OK).all()  # those in flight were waited for
    assert out.rows["due_ns"].tolist() == (LONG_S[: len(asked)] * 1e9).astype(np.int64).tolist()


def test_what_is_in_flight_when_the_grace_ends_is_a_timeout(tmp_path: Path) -> None:
    asked: list[int] = []

    async def enough(driver: LoadDriver, _: list[Asked]) -> None:
        await until(lambda: len(asked) > 5)

    def never(_: Asked, case: int) -> None:
        asked.append(case)

    out = asyncio.run(
        drive(tmp_path, never, LONG_S, only(0, len(LONG_S)), meddle=enough, grace_s=0.0, users=16)
    )
    assert len(out.rows) == out.report.sent + out.report.expired == out.report.timeouts
    assert (out.rows["outcome"] == TIMEOUT).all()


def test_the_load_dies_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, 9, LONG_S, only(0, len(LONG_S)), users=4)
    script = (
        "import asyncio, json, sys\n"
        "from harness.run.load.driver import LoadDriver, LoadSpec\n"
        "async def main():\n"
        "    driver = LoadDriver()\n"
        "    await driver.start(LoadSpec.from_json(json.loads(sys.argv[1])))\n"
        "    print(driver.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, orjson.dumps(spec.to_json()).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as harness:
        assert harness.stdout is not None
        pid = int(harness.stdout.readline())
        try:
            assert os.getsid(pid) == pid, "a Ctrl-C at the terminal would reach it"
            assert alive(pid)
        finally:
            harness.kill()
    asyncio.run(until(lambda: not alive(pid), GONE_WITHIN_S))


def test_rows_reach_the_file_several_times_a_second(tmp_path: Path) -> None:
    sizes: set[int] = set()

    async def look() -> None:
        while True:
            sizes.add((tmp_path / "requests.bin").stat().st_size // ROW.itemsize)
            await asyncio.sleep(0.02)

    async def watch(driver: LoadDriver, _: list[Asked]) -> None:
        looking = asyncio.create_task(look())
        async for summary in driver.summaries():
            if summary.t_s >= 4.0:
                break
        looking.cancel()
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGKILL)

    with pytest.raises(LoadFailed, match="without its report"):
        asyncio.run(drive(tmp_path, Asked.reply, LONG_S, only(0, len(LONG_S)), meddle=watch))
    assert len(sizes) >= 8, "once a second would be 5"
    assert len(np.fromfile(tmp_path / "requests.bin", dtype=ROW)) >= max(sizes)


# --- what it is given


def test_a_tail_torn_by_an_earlier_writer_is_cut_off(tmp_path: Path) -> None:
    whole = np.zeros(2, dtype=ROW).tobytes()
    (tmp_path / "requests.bin").write_bytes(whole + whole[: ROW.itemsize - 9])
    out = asyncio.run(drive(tmp_path, Asked.reply, every(0.01, 10), only(5, 10)))
    assert len(out.rows) == 12
    assert (out.rows["case"] == 5).sum() == 10


def test_a_shard_sends_every_wth_slot(tmp_path: Path) -> None:
    due_s, cases = every(0.01, 20), np.arange(20) % CASES
    out = asyncio.run(drive(tmp_path, Asked.reply, due_s, cases, shard=1, shards=3))
    assert out.rows["due_ns"].tolist() == np.load(out.spec.due_ns_file)[1::3].tolist()
    assert out.rows["case"].tolist() == cases[1::3].tolist()
    assert out.report.planned == 7


@pytest.mark.parametrize(
    ("due_s", "case", "more", "says"),
    [
        ([0.2, 0.1], 0, {}, r"due\.npy: slot 1 is due before"),
        ([0.1, 0.2], CASES, {}, r"case 8, but .*bodies has 8 bodies"),
        ([0.1, 0.2], 0, {"shard": 2, "shards": 2}, "shard 2 of 2"),
        ([0.1, 0.2], 0, {"bodies_file": Path("/nowhere/bodies")}, "/nowhere/bodies"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused_by_name(
    tmp_path: Path, due_s: list[float], case: int, more: dict[str, Any], says: str
) -> None:
    spec = spec_for(tmp_path, 9, np.array(due_s), only(case, 2), **more)
    driver = LoadDriver()
    with pytest.raises(LoadFailed, match=says):
        asyncio.run(driver.start(spec))
    assert driver.pid is not None and not alive(driver.pid)


def test_bodies_come_back_as_written(tmp_path: Path) -> None:
    bodies = [b"", b"one", b"\x00\r\n", b""]
    assert write_bodies(tmp_path / "bodies", bodies) == 4
    read = Bodies(tmp_path / "bodies")
    assert [read[i] for i in range(len(read))] == bodies
    (tmp_path / "bodies").write_bytes(b"shorter")
    with pytest.raises(ValueError, match="do not match its offsets"):
        Bodies(tmp_path / "bodies")
