import orjson
import pytest

from fixtures.serving import v2
from fixtures.serving.decision import read_ask
from fixtures.serving.flights import Carried


def tensor(**changes: object) -> dict[str, object]:
    return {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]} | changes


def body(**changes: object) -> bytes:
    return orjson.dumps({"id": "r-1", "inputs": [tensor()]} | changes)


MALFORMED = {
    "not JSON": b"{",
    "not an object": b"[]",
    "empty": b"",
    "id is a number": body(id=1),
    "no inputs": b"{}",
    "inputs is empty": body(inputs=[]),
    "input is no object": body(inputs=[1]),
    "no name": body(inputs=[tensor(name=None)]),
    "unknown datatype": body(inputs=[tensor(datatype="FP16")]),
    "datatype is a list": body(inputs=[tensor(datatype=[])]),
    "negative shape": body(inputs=[tensor(shape=[-1])]),
    "shape is a boolean": body(inputs=[tensor(shape=[True])]),
    "shape and data differ": body(inputs=[tensor(shape=[2])]),
    "data is no list": body(inputs=[tensor(data=1.0)]),
    "a null": body(inputs=[tensor(data=[None])]),
    "a string as FP32": body(inputs=[tensor(data=["1"])]),
    "a boolean as INT32": body(inputs=[tensor(datatype="INT32", data=[True])]),
    "a number as BYTES": body(inputs=[tensor(datatype="BYTES", data=[1])]),
    "a name twice": body(inputs=[tensor(), tensor()]),
    "a parameter is null": body(parameters={"a": None}),
    "parameters is a list": body(parameters=[]),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_does_not_follow_the_protocol_is_malformed(raw: bytes) -> None:
    with pytest.raises(v2.Malformed):
        v2.parse(raw)


def test_nested_data_is_flattened_in_row_major_order() -> None:
    given = v2.parse(body(inputs=[tensor(shape=[2, 2], data=[[1, 2], [3, 4]])]))
    assert list(given.tensor("x", "FP32").data) == [1, 2, 3, 4]


def test_an_input_of_another_type_or_size_is_malformed() -> None:
    given = v2.parse(body(inputs=[tensor(shape=[2], data=[1, 2])]))
    for wrong in (lambda: given.text("x"), lambda: given.number("x"), lambda: given.number("y")):
        with pytest.raises(v2.Malformed):
            wrong()


def test_a_response_leaves_out_what_is_absent() -> None:
    raw = v2.response("m", "1", "r-1", v2.answer([True], [0.75]))
    assert orjson.loads(raw) == {
        "model_name": "m",
        "model_version": "1",
        "id": "r-1",
        "outputs": [
            {"name": "late", "shape": [1], "datatype": "BOOL", "data": [True]},
            {"name": "score", "shape": [1], "datatype": "FP32", "data": [0.75]},
        ],
    }


def ask(**parameters: object) -> bytes:
    numbers = {"dep_delay": "FP32", "distance": "FP32", "sched_hour": "INT32", "month": "INT32"}
    inputs = [tensor(name=name, datatype=kind, data=[7]) for name, kind in numbers.items()]
    inputs += [tensor(name=n, datatype="BYTES", data=["UA"]) for n in ("carrier", "origin")]
    return orjson.dumps({"parameters": {"flight_id": "f12"} | parameters, "inputs": inputs})


def test_an_ask_is_read() -> None:
    found = read_ask(ask(tenant="web"), lambda: "made-up")
    assert (found.id, found.flight, found.row, found.tenant) == ("made-up", "f12", 12, "web")
    assert found.carried == Carried(7.0, 7.0, 7, 7, "UA", "UA")


@pytest.mark.parametrize(
    "wrong", [{"flight_id": "12"}, {"flight_id": 12}, {"flight_id": "f" + "9" * 99}, {"tenant": 1}]
)
def test_an_ask_without_a_usable_flight_or_tenant_is_malformed(wrong: dict[str, object]) -> None:
    with pytest.raises(v2.Malformed):
        read_ask(ask(**wrong), lambda: "made-up")


def test_an_id_cannot_smuggle_a_header() -> None:
    raw = orjson.dumps(orjson.loads(ask()) | {"id": "a\r\nx-model: rule"})
    with pytest.raises(v2.Malformed, match="id is"):
        read_ask(raw, lambda: "made-up")
