import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.serving.config import ConfigError, ServiceConfig, address, read_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(ServiceConfig):
    peers: Mapping[str, str]
    names: tuple[str, ...] = ()
    pause_s: float = 1.0


GOOD = {"name": "n", "token": "t", "fd": None, "peers": {"a": "b:1"}}


def write(folder: Path, body: Any) -> str:
    path = folder / "config.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return str(path)


def test_a_configuration_is_read_with_its_defaults(tmp_path: Path) -> None:
    found = read_config(write(tmp_path, GOOD | {"names": ["x"], "pause_s": 2}), Example)
    assert found == Example(name="n", token="t", peers={"a": "b:1"}, names=("x",), pause_s=2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (GOOD | {"pauses": 1}, "unknown key 'pauses'"),
        (GOOD | {"pause_s": "1"}, "pause_s is '1'"),
        (GOOD | {"fd": True}, "fd is True"),
        (GOOD | {"peers": {"a": 1}}, "peers is"),
        (GOOD | {"names": "x"}, "names is 'x'"),
        ({"name": "n", "token": "t"}, "peers is missing"),
        ([], "must be a JSON object"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path: Path, body: Any, says: str) -> None:
    path = write(tmp_path, body)
    with pytest.raises(ConfigError, match=says) as caught:
        read_config(path, Example)
    assert path in str(caught.value)


def test_an_address_is_host_and_port() -> None:
    assert address("127.0.0.1:80", key="redis") == ("127.0.0.1", 80)
    for wrong in ("127.0.0.1", ":80", "host:"):
        with pytest.raises(ConfigError, match="redis is"):
            address(wrong, key="redis")
