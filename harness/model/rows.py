"""One request as it is recorded: a fixed-width row.

Fixed width, so that the file is read by mapping it, a torn tail is told by its size, and a million
requests cost 109 MB and no parsing. Rows lie in the order in which requests *ended*; sort by
``due_ns`` to see them as they were meant.
"""

import numpy as np

OK = 0
"""Status 200 and an answer that could be read."""
ERROR = 1
"""Any other answer, or a connection refused, reset or closed early."""
TIMEOUT = 2
"""No whole answer within the time allowed, or none by the end of the load."""

ROW = np.dtype(
    [
        ("case", "<u4"),  # which request: an index into the cases replayed
        # Integer ns since the run's zero, CLOCK_MONOTONIC; due - 20 us <= sent <= first <= end.
        ("due_ns", "<i8"),  # when it was meant to leave
        ("sent_ns", "<i8"),  # when it left; of one that never did, when it was given up
        ("first_ns", "<i8"),  # the first byte of the answer; without one, equal to end_ns
        ("end_ns", "<i8"),  # the last byte, or when it was given up
        ("outcome", "u1"),
        ("status", "<u2"),  # 0 = no answer
        ("new_conn", "u1"),  # 1 = it had to open its connection first
        # Text is cut to its width; empty = not known.
        ("node", "S16"),
        ("model", "S16"),
        ("version", "S16"),
        ("fallback", "S12"),
        ("prediction", "i1"),  # 0 | 1; -1 = not known
        ("score", "<f4"),  # NaN = not known
        ("mask", "<i4"),  # feature mask; -1 = not known
    ]
)
