"""What `toxiproxy-server` 2.12 answered, request by request, for what our links support.

The requests build on one another and are replayed in this order on an empty server. A row is
method, path, body -> status, content type, body. "PORT" stands for any port; None is not compared.
"""

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
LISTENING = "127.0.0.1:PORT"


def link(name: str, upstream: str = "127.0.0.1:1", **other: object) -> dict[str, object]:
    basis = {"name": name, "listen": LISTENING, "upstream": upstream, "enabled": True}
    return {**basis, "Logger": {}, "toxics": [], **other}


def latency(name: str, latency_ms: int, jitter_ms: int = 0, **other: object) -> dict[str, object]:
    attributes = {"latency": latency_ms, "jitter": jitter_ms}
    basis = {"attributes": attributes, "name": name, "type": "latency", "stream": "downstream"}
    return {**basis, "toxicity": 1, **other}


def error(status: int, text: str) -> tuple[int, str, object]:
    return status, TEXT, {"error": text, "status": status}


INT = "bad request body: json: cannot unmarshal {} into Go struct field .attributes.latency of "
INT += "type int64"
DOWN, BAD_STREAM = "latency_downstream", "stream was invalid, can be either upstream or downstream"
MISSING = "missing required field: "
NOTHING: tuple[int, str | None, object] = (204, None, b"")
OFF = {"listen": "localhost:0", "enabled": False}
RECORDED: list[tuple[str, str, object, tuple[int, str | None, object]]] = [
    ("GET", "/version", None, (200, "application/json;charset=utf-8", None)),
    ("GET", "/proxies", None, (200, JSON, {})),
    ("POST", "/proxies", link("b", listen="127.0.0.1:0"), (201, JSON, link("b"))),
    ("POST", "/proxies", link("b", listen="127.0.0.1:0"), error(409, "proxy already exists")),
    ("POST", "/proxies", link("c", **OFF), (201, JSON, link("c", **OFF))),
    ("POST", "/proxies", {"name": "", "upstream": "x:1"}, error(400, MISSING + "name")),
    ("POST", "/proxies", {"name": "x"}, error(400, MISSING + "upstream")),
    ("POST", "/proxies", b"{bad", (400, TEXT, None)),
    ("POST", "/proxies", b"", error(400, "bad request body: EOF")),
    ("POST", "/proxies", {"name": "d", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "x": 1},
     (201, JSON, link("d"))),
    ("POST", "/proxies", link("f", listen="nonsense"),
     error(500, "listen tcp: address nonsense: missing port in address")),
    ("GET", "/proxies/d", None, (200, JSON, link("d"))),
    ("GET", "/proxies/zzz", None, error(404, "proxy not found")),
    ("PATCH", "/proxies/d", {"enabled": False}, (200, JSON, link("d", enabled=False))),
    ("POST", "/proxies/d", {"enabled": True}, (200, JSON, link("d"))),
    ("PATCH", "/proxies/d", {"upstream": "127.0.0.1:2"}, (200, JSON, link("d", "127.0.0.1:2"))),
    ("PATCH", "/proxies/d", {"name": "renamed"}, (200, JSON, link("d", "127.0.0.1:2"))),
    ("PATCH", "/proxies/d", {"listen": "127.0.0.1:0"}, (200, JSON, link("d", "127.0.0.1:2"))),
    ("PATCH", "/proxies/zzz", {}, error(404, "proxy not found")),
    ("GET", "/proxies/d/toxics", None, (200, JSON, [])),
    ("POST", "/proxies/d/toxics", {"type": "latency", "attributes": {"latency": 1000}},
     (200, JSON, latency(DOWN, 1000))),
    ("POST", "/proxies/d/toxics", {"type": "latency"}, error(409, "toxic already exists")),
    ("POST", "/proxies/d/toxics", {"type": "latency", "stream": "UPSTREAM", "toxicity": 0},
     (200, JSON, latency("latency_UPSTREAM", 0, stream="UPSTREAM", toxicity=0))),
    ("POST", "/proxies/d/toxics", {"type": "latency", "stream": "sideways"},
     error(400, BAD_STREAM)),
    ("POST", "/proxies/d/toxics", {"type": "nope"}, error(400, "invalid toxic type")),
    ("POST", "/proxies/d/toxics", {}, error(400, "invalid toxic type")),
    ("POST", "/proxies/d/toxics", {"type": "latency", "name": "l", "attributes": {"latency": "x"}},
     error(400, INT.format("string"))),
    ("POST", "/proxies/d/toxics", {"type": "latency", "name": "l", "attributes": {"latency": 1.5}},
     error(400, INT.format("number 1.5"))),
    ("POST", "/proxies/d/toxics", {"type": "latency", "name": "l4", "attributes": {"bogus": 1}},
     (200, JSON, latency("l4", 0))),
    ("GET", f"/proxies/d/toxics/{DOWN}", None, (200, JSON, latency(DOWN, 1000))),
    ("GET", "/proxies/d/toxics/none", None, error(404, "toxic not found")),
    ("PATCH", f"/proxies/d/toxics/{DOWN}", {"attributes": {"jitter": 10}},
     (200, JSON, latency(DOWN, 1000, 10))),
    ("POST", f"/proxies/d/toxics/{DOWN}",
     {"toxicity": 0.5, "stream": "upstream", "name": "new", "type": "timeout"},
     (200, JSON, latency(DOWN, 1000, 10, toxicity=0.5))),
    ("PATCH", "/proxies/d/toxics/none", {}, error(404, "toxic not found")),
    ("DELETE", f"/proxies/d/toxics/{DOWN}", None, NOTHING),
    ("DELETE", f"/proxies/d/toxics/{DOWN}", None, error(404, "toxic not found")),
    ("GET", "/proxies/d", None, (200, JSON, link("d", "127.0.0.1:2", toxics=[
        latency("latency_UPSTREAM", 0, stream="UPSTREAM", toxicity=0), latency("l4", 0)]))),
    ("POST", "/populate", [link("d", listen="127.0.0.1:0"), link("p", listen="127.0.0.1:0")],
     (201, JSON, {"proxies": [link("d"), link("p")]})),
    ("POST", "/populate", [link("q"), {"name": "", "upstream": "127.0.0.1:2"}],
     (400, JSON, {"error": MISSING + "name at proxy 2", "status": 400, "proxies": None})),
    ("POST", "/populate", [link("q", listen="127.0.0.1:0"), link("r", listen="bad")],
     (500, JSON, {"error": "listen tcp: address bad: missing port in address", "status": 500,
                  "proxies": [link("q")]})),
    ("POST", "/populate", {"name": "q"}, (400, JSON, None)),
    ("POST", "/populate", [], (201, JSON, {"proxies": None})),
    ("POST", "/reset", None, NOTHING),
    ("GET", "/proxies/c", None, (200, JSON, link("c"))),
    ("GET", "/reset", None, (405, None, b"")),
    ("PUT", "/proxies/d", {}, (405, None, b"")),
    ("GET", "/nope", None, (404, TEXT, b"404 page not found\n")),
    ("GET", "/metrics", None, (404, TEXT, b"404 page not found\n")),
    ("DELETE", "/proxies/p", None, NOTHING),
    ("DELETE", "/proxies/p", None, error(404, "proxy not found")),
]  # fmt: skip
