"""How long the local stack takes to stand up and to go away, and how much a probe costs.

``python -m tests.bench.bench_stack`` (about a minute and a half). Medians of five: up <= 10 s with
trained models, down <= 3 s. Up counts until every part is ready and Prometheus has scraped each;
six seconds of it are Prometheus's own, which looks at its targets first five seconds after its
start. The first up trains the models where there are none; it is not counted then.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from fixtures.stacks.local import Local
from harness import FeedRule, Site

UP_S, DOWN_S = 10.0, 3.0
PROBES = 50
RULE = FeedRule(("dep_delay",), 1.0, "null", "1")


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it takes."""
    began_s = time.perf_counter()
    await action()
    return time.perf_counter() - began_s


async def once() -> dict[str, float]:
    """One stack up and down again: every figure in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Local()
        found = {"up": await timed(lambda: stack.up(Site(folder)))}
        try:
            probes = [await timed(stack.probe) for _ in range(PROBES)]
            shares = [await timed(lambda: stack.spoilt_share(RULE)) for _ in range(PROBES)]
            found["probe p50"] = statistics.median(probes)
            found["probe max"] = max(probes)
            found["spoilt_share p50"] = statistics.median(shares)
            found["spoilt_share max"] = max(shares)
            found["rewrite"] = await timed(lambda: rewrite(stack))
            found["in force"] = await timed(lambda: in_force(stack))
            found["restore"] = await timed(lambda: stack.restore_feed(None))
        finally:
            found["down"] = await timed(stack.down)
    return found


async def rewrite(stack: Local) -> None:
    await stack.rewrite_feed(RULE, await stack.feed_route())


async def in_force(stack: Local) -> None:
    share = 0.0
    while share < 0.9:
        share, _ = await stack.spoilt_share(RULE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_stack", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    asyncio.run(once())
    found = [asyncio.run(once()) for _ in range(rounds)]
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    for name, median_s in medians.items():
        spread = ", ".join(f"{one[name]:.3f}" for one in found)
        print(f"{name:18} median {median_s:7.3f} s   ({spread})")
    print(json.dumps({name: round(value, 4) for name, value in medians.items()}))
    good = medians["up"] <= UP_S and medians["down"] <= DOWN_S
    print(f"up <= {UP_S:g} s and down <= {DOWN_S:g} s: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
