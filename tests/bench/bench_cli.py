"""How long the command line takes to answer: medians of 7 whole processes, peers in the same run.

``python -m tests.bench.bench_cli``. Targets: ``gameday --help`` 60 ms, ``check`` of a scenario 120
ms. Peers: ``locust --help``, and Chaos Toolkit's ``chaos --help`` when it is on PATH.
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNS = 7
SCENARIO = "scenarios/core/drop_features.yaml"
BESIDE = Path(sys.executable).parent


def timed(command):
    """One run: wall milliseconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return (time.perf_counter() - started) * 1e3


def main():
    gameday = [str(BESIDE / "gameday")]
    if not Path(gameday[0]).exists():
        gameday = [sys.executable, "-m", "harness"]
    rows = [
        ("gameday --help", [*gameday, "--help"], 60),
        ("gameday check SCENARIO", [*gameday, "check", SCENARIO], 120),
        ("locust --help (peer)", [sys.executable, "-m", "locust", "--help"], None),
        ("python -c pass (floor)", [sys.executable, "-c", "pass"], None),
    ]
    if chaos := shutil.which("chaos"):
        rows.append(("chaos --help (peer)", [chaos, "--help"], None))
    times = {name: [] for name, _, _ in rows}
    for _ in range(RUNS + 1):  # in turn, so that all meet the same neighbours; the first warms up
        for name, command, _ in rows:
            times[name].append(timed(command))
    print(f"{'command':26} {'median':>8} {'min':>8} {'max':>8} {'target':>8}")
    missed = 0
    for name, _, target in rows:
        kept = times[name][1:]
        median = statistics.median(kept)
        goal = f"{target} ms" if target else ""
        print(f"{name:26} {median:6.0f}ms {min(kept):6.0f}ms {max(kept):6.0f}ms {goal:>8}")
        missed += bool(target and median > target)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
