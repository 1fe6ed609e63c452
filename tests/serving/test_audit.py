from contextlib import closing
from pathlib import Path

import pytest

from fixtures.serving.audit import AuditTrail


def write(path: Path, what: str) -> int:
    with closing(AuditTrail(path)) as trail:
        return trail.write(who="ann", what=what, why="drill", target="arrival_delay").seq


def read(path: Path, after: int = 0) -> list[str]:
    with closing(AuditTrail(path)) as trail:
        return [entry.what for entry in trail.after(after)]


def test_entries_are_numbered_across_restarts(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    assert [write(path, what) for what in ("a", "b", "c")] == [1, 2, 3]
    assert read(path, after=1) == ["b", "c"]
    assert read(path, after=3) == []


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, "a")
    with path.open("ab") as file:
        file.write(b'{"seq":2,"at_')
    assert write(path, "b") == 2
    assert read(path) == ["a", "b"]


@pytest.mark.parametrize("line", [b"{}\n", b"no JSON\n", b""])
def test_a_trail_that_was_tampered_with_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    for what in ("a", "b"):
        write(path, what)
    path.write_bytes(line + path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(ValueError, match="line 1"):
        read(path)
