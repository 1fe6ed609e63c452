"""The committed data is what its provenance says, and its script keeps the rules it states."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from fixtures.data import FLIGHTS_PATH, GOLDEN_PATH, MODELS_PATH, prepare
from fixtures.serving import flights
from fixtures.serving.flights import COLUMNS, Flights

PROVENANCE = FLIGHTS_PATH.with_name("PROVENANCE.md").read_text()


@pytest.fixture(scope="module")
def data() -> Flights:
    return flights.load(FLIGHTS_PATH)


@pytest.mark.parametrize(
    "path", [FLIGHTS_PATH, GOLDEN_PATH, MODELS_PATH], ids=lambda path: path.name
)
def test_a_file_has_the_digest_that_its_provenance_states(path: Path) -> None:
    stated = re.search(rf"\| `{path.name}` \|.*`([0-9a-f]{{64}})` \|", PROVENANCE)
    assert stated and stated[1] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_data_has_the_fingerprint_that_its_provenance_states(data: Flights) -> None:
    assert f"`{data.fingerprint()}`" in PROVENANCE
    assert f"`{prepare.SDIST_SHA256}`" in PROVENANCE


def test_one_changed_value_changes_the_fingerprint(data: Flights) -> None:
    arrays = {name: getattr(data, name).copy() for name in COLUMNS}
    arrays["dep_delay"][1000] += 1
    assert Flights(**arrays, dests=data.dests).fingerprint() != data.fingerprint()


def test_rows_are_in_the_order_of_schedule_with_no_ties(data: Flights) -> None:
    assert len(data) == 327_346
    assert data.held_out == range(217_727, 327_346)
    keys = (data.scheduled_min, data.origin, data.carrier, data.flight)
    one_key = np.zeros(len(data), np.int64)
    for key in keys:
        one_key = one_key * 10_000 + key.astype(np.int64) % (1 << 20)
    assert (np.diff(one_key) > 0).all()


def test_a_flight_that_arrives_16_minutes_late_is_late_and_one_of_15_is_not(data: Flights) -> None:
    assert data.late[data.arr_delay == 16].all()
    assert not data.late[data.arr_delay == 15].any()
    assert 0.2 < data.late.mean() < 0.3


def test_the_first_row_of_a_day_is_its_first_flight(data: Flights) -> None:
    row = data.first_row("11-01")
    assert (data.month[row], data.day[row], data.day[row - 1]) == (11, 1, 31)
    assert data.first_row("01-01") == 0
    assert data.first_row("09-01") == data.held_out.start


@pytest.mark.parametrize("wrong", ["11-31", "13-01", "yesterday", "2013-11-01", ""])
def test_a_day_that_is_none_is_refused_by_name(data: Flights, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(wrong))):
        data.first_row(wrong)


def test_a_flight_id_and_its_row_are_one_to_one() -> None:
    assert flights.row_of(flights.flight_id(301_122)) == 301_122
    for wrong in ("301122", "f", "f-1", "f1.5", "f²", ""):
        with pytest.raises(ValueError, match="write f and the row"):
            flights.row_of(wrong)


def test_a_missing_a_torn_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"fixtures\.data\.prepare"):
        flights.load(tmp_path / "none.npz")
    content = bytearray(FLIGHTS_PATH.read_bytes())
    for name, wrong in {
        "text": b"not an archive",
        "empty": b"",
        "cut": bytes(content[:500_000]),
        "bits": bytes(content[:200_000] + b"\xff" * 64 + content[200_064:]),
    }.items():
        path = tmp_path / name
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="is not the flights file"):
            flights.load(path)


def _flight(**changed: str) -> prepare.Row:
    row = {
        "month": "2", "day": "3", "hour": "6", "minute": "5", "dep_delay": "1", "arr_delay": "20",
        "origin": "EWR", "carrier": "UA", "dest": "IAH", "distance": "1400", "flight": "7",
        "time_hour": "2013-02-03T11:00:00Z",
    }  # fmt: skip
    return row | changed


def _weather(hour: int, **changed: str) -> prepare.Row:
    row = {"origin": "EWR", "wind_speed": "11.5078", "precip": "0.02", "visib": "0.25"}
    return row | {"time_hour": f"2013-02-03T{hour:02}:00:00Z"} | changed


def _everywhere() -> list[prepare.Row]:
    return [_weather(9, origin=origin) for origin in flights.ORIGINS]


def test_cancelled_and_diverted_flights_are_left_out_and_counted() -> None:
    source = [_flight(), _flight(dep_delay="NA", arr_delay="NA"), _flight(arr_delay="")]
    made, counts = prepare.compact(source, _everywhere())
    assert (len(made), counts["cancelled"], counts["diverted"], counts["kept"]) == (1, 1, 1, 1)


def test_missing_weather_and_impossible_wind_are_filled_forward() -> None:
    weather = [*_everywhere(), _weather(10), _weather(11, wind_speed="1048.36058", visib="10")]
    source = [_flight(), _flight(minute="6", time_hour="2013-02-03T14:00:00Z")]
    made, counts = prepare.compact(source, weather)
    assert made.wind_kt.tolist() == [10, 10]
    assert made.visib_cmi.tolist() == [1000, 1000]
    assert made.precip_cin.tolist() == [2, 2]
    assert counts["weather_filled"] == 2


def test_flights_are_sorted_by_schedule_origin_carrier_and_number() -> None:
    source = [
        _flight(minute="6"),
        _flight(origin="LGA"),
        _flight(flight="10"),
        _flight(flight="9"),
        _flight(carrier="AA", flight="90"),
        _flight(month="1"),
    ]
    made, _ = prepare.compact(source, _everywhere())
    assert made.flight.tolist() == [7, 90, 9, 10, 7, 7]
    assert made.sched_min.tolist() == [365, 365, 365, 365, 365, 366]


def test_equal_data_is_written_as_equal_bytes_and_read_back(tmp_path: Path) -> None:
    made, _ = prepare.compact([_flight(), _flight(flight="8")], _everywhere())
    prepare.write(made, tmp_path / "one.npz")
    prepare.write(made, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert flights.load(tmp_path / "one.npz").fingerprint() == made.fingerprint()


def test_the_script_says_how_to_get_the_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_bytes(b"something else")
    out = tmp_path / "out.npz"
    for arguments in ([], ["--sdist", str(tmp_path / "none")], ["--sdist", str(wrong)]):
        assert prepare.main([*arguments, "--out", str(out)]) == 2
        assert "pip download" in capsys.readouterr().err
    assert not out.exists()
