import json

import numpy as np
import pytest

from harness.model import events as ev
from harness.model.record import Series
from harness.model.rows import ROW
from harness.run import folder as folders
from harness.run.folder import FolderError
from harness.run.journal import FileJournal


@pytest.fixture
def run(tmp_path):
    return folders.create("r1", tmp_path)


def rows(count):
    made = np.zeros(count, ROW)
    made["case"] = np.arange(count)
    made["due_ns"] = np.arange(count)[::-1] * 10**9
    return made


def test_what_is_written_is_read_back(run):
    started = ev.Noted(t=1.5, who="me", text='a "quote", a \n newline and an é')
    with FileJournal(run.events) as journal:
        journal.append(started)
    folders.write_cases(run, np.array([True, False]), np.array([False, False]))
    run.requests.write_bytes(rows(2).tobytes())
    folders.write_series(
        run, [Series("up", {"job": 'a"b'}, np.array([1.0, 2.0]), np.array([1.0, np.nan]))]
    )
    record = folders.read(run)
    assert record.events == (started,)
    assert record.requests.due_s.tolist() == [0, 1]  # ordered by when they were due
    assert record.requests.label.tolist() == [False, True]
    (series,) = record.series
    assert series.labels == {"job": 'a"b'} and np.isnan(series.value[1])


def test_torn_tails_are_dropped_not_errors(run):
    with FileJournal(run.events) as journal:
        journal.append(ev.Noted(t=1, who="me", text="whole"))
    with run.events.open("a") as file:
        file.write('{"kind":"Noted","t":2,"wh')
    folders.write_cases(run, np.ones(3, bool), np.ones(3, bool))
    run.requests.write_bytes(rows(3).tobytes()[:-7])
    folders.write_series(run, [Series("up", {}, np.array([1.0]), np.array([1.0]))])
    with run.series.open("a") as file:
        file.write('{"name":"torn')
    record = folders.read(run)
    assert len(record.events) == 1 and len(record.requests) == 2 and len(record.series) == 1


def test_a_record_with_nothing_but_events_is_readable(run):
    with FileJournal(run.events) as journal:
        journal.append(ev.Noted(t=1, who="me", text="alone"))
    assert len(folders.read(run).requests) == 0


def test_a_journal_never_overwrites(run):
    with FileJournal(run.events), pytest.raises(FileExistsError):
        FileJournal(run.events)


def test_every_kind_of_event_survives_its_line():
    for kind in ev._KINDS.values():
        fields = {
            name: {"t": 1.0, "nodes": ("a",), "topology": {"r": ("a",)}}.get(name, "x")
            for name in kind.__dataclass_fields__
        }
        event = kind(**fields)
        assert ev.from_line(ev.to_line(event)) == event
        assert json.loads(ev.to_line(event))["kind"] == kind.__name__


@pytest.mark.parametrize("run_id", ["../../etc", "/etc/passwd", "no-such-run", "", "a/b", "."])
def test_a_run_that_is_none_is_refused_by_name(run_id, home):
    with pytest.raises(FolderError, match="no run|is no run"):
        folders.find(run_id)


def test_last_finds_the_newest(home):
    for name in ("a", "b"):
        folder = folders.create(name)
        folder.write("events.jsonl", "")
    import os

    os.utime(home / "runs" / "a" / "events.jsonl", (2e9, 2e9))
    assert folders.find("last").run == "a"


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="GAMEDAY_HOME"):
        folders.create("r", tmp_path / "file")
