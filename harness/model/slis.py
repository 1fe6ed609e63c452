"""The vocabulary of indicators: names that scenarios and SLO files may use.

Only names live here, so that a scenario can be checked without loading the numerics; what each
measures is in ``harness.analyze.slis``, and a test holds the two together.
"""

from typing import Final

SLI_NAMES: Final = (
    "success_ratio",
    "paired_correctness",
    "latency_p50_ms",
    "latency_p99_ms",
    "recall",
    "precision",
    "accuracy",
    "fallback_share",
    "champion_share",
    "sent_per_s",
)
RATIO_SLI_NAMES: Final = ("success_ratio", "paired_correctness")  # those an objective can hold to
LIVE_SLI_NAMES: Final = ("success_ratio", "paired_correctness", "latency_p99_ms", "fallback_share")
"""Those that are known while the run goes on, second by second: see ``harness.run.tally``."""
