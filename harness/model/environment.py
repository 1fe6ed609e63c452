"""What a run's processes inherit of the environment of whoever started it: a short list.

An environment holds secrets more often than not (API keys, tokens, DSNs), and every process that
has them may lose them: in a crash dump, a log, a page about itself. So nothing is handed down but
what a program needs to start on this machine; who needs more names it in ``GAMEDAY_PASS``.
"""

from collections.abc import Mapping
from typing import Final

PASS: Final = "GAMEDAY_PASS"
"""Names of further variables to hand down, with commas between."""
NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "TMP", "TEMP"),
        *("LANG", "LANGUAGE", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONWARNINGS"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONFAULTHANDLER"),
        *("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"),
        *("GAMEDAY_HOME", "GAMEDAY_RUN", "GAMEDAY_STACK", PASS),
    }
)
FAMILIES: Final = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "PYTORCH_", "TORCH_")
"""Beginnings of names: the language, and how threads and GPUs are used."""


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is handed down of an environment."""
    named = {name.strip() for name in environment.get(PASS, "").split(",")}
    return {
        name: value
        for name, value in environment.items()
        if name in NAMES or name in named or name.startswith(FAMILIES)
    }
