"""The links, embedded and, where `toxiproxy-server` is on PATH, the real ones: the same tests.

The real one is optional (Debian has no package of it): without it, these tests meet the embedded
one only, and what the real one answers is known from ``recorded_toxiproxy``.
"""

import contextlib
import hashlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from fixtures.stacks._links import LinkError, Links, LinkState, LinkToxic
from tests.serving.links_under_test import (
    PATIENCE_S,
    REAL,
    ROOT,
    ask,
    connect,
    echo,
    embedded,
    ends,
    greet,
    real,
    receive,
    reply_at_the_end,
    round_trip,
    shout,
    upstream,
    without_ports,
)
from tests.serving.recorded_toxiproxy import RECORDED

SERVERS = {"embedded": embedded, **({"real": real} if REAL else {})}


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    with SERVERS[request.param](tmp_path_factory.mktemp("links")) as (address, _):
        yield request.param, address


@pytest.fixture
def links(server):
    links = Links(server[1])
    yield links
    for name in links.names():
        links.destroy(name)


@pytest.fixture
def ours(server, links):
    if server[0] != "embedded":
        pytest.skip("this promise is not the real server's")
    return links


@pytest.fixture(scope="module")
def upstreams():
    with contextlib.ExitStack() as stack:
        yield lambda talk: stack.enter_context(upstream(talk))


def test_answers_are_those_recorded_from_the_real_server(server, links):
    for method, path, body, (status, content_type, expected) in RECORDED:
        got_status, headers, got = ask(server[1], method, path, body)
        place = f"{method} {path} {body!r} answered {got!r}"
        assert got_status == status, place
        assert headers["x-toxiproxy-request-id"], place
        if content_type is not None:
            assert headers["content-type"] == content_type, place
        if expected is not None:
            assert without_ports(got) == expected, place
        if status >= 400 and content_type == "text/plain; charset=utf-8":
            assert headers["x-content-type-options"] == "nosniff", place


def test_a_web_page_cannot_use_the_interface(server):
    status, _, body = ask(server[1], "GET", "/proxies", **{"User-Agent": "Mozilla/5.0"})
    assert (status, body) == (403, b"User agent not allowed\n")


@pytest.mark.parametrize(
    "body",
    [
        {"type": "latency", "attributes": {"latency": -5}},
        {"type": "latency", "attributes": {"jitter": -1}},
        {"type": "latency", "attributes": {"latency": 2**63}},
        {"type": "latency", "toxicity": 7},
        {"type": "latency", "toxicity": -0.1},
        {"type": "bandwidth", "attributes": {"rate": -1}},
        {"type": "latency", "attributes": [1]},
        [1],
    ],
)
def test_what_would_do_harm_later_is_refused_now(server, ours, body):
    ours.create("a", "127.0.0.1:0", "127.0.0.1:1")
    status, _, answer = ask(server[1], "POST", "/proxies/a/toxics", body)
    assert status == 400, answer
    assert ours.toxics_of("a") == ()


def test_the_client_sees_what_it_made(links):
    listen = links.create("a", "127.0.0.1:0", "127.0.0.1:1")
    assert links.names() == ("a",)
    assert links.state_of("a") == LinkState("a", listen, "127.0.0.1:1", enabled=True)
    links.disable("a")
    assert links.state_of("a").enabled is False
    toxic = links.add_latency("a", 10, 5, stream="upstream", toxicity=0.5)
    attributes = {"latency": 10, "jitter": 5}
    assert links.toxics_of("a") == (LinkToxic(toxic, "latency", "upstream", 0.5, attributes),)
    links.reset()
    assert links.state_of("a").enabled is True
    assert links.toxics_of("a") == ()
    assert links.remove_toxic("a", toxic) is False


def test_errors_say_what_was_asked_and_why_it_was_refused(links):
    listen = links.create("a", "127.0.0.1:0", "127.0.0.1:1")
    with pytest.raises(LinkError, match="there is a link 'a'"):
        links.create("a", "127.0.0.1:0", "127.0.0.1:1")
    with pytest.raises(LinkError, match=f"POST .*/proxies: 500, .*{listen}.*already in use"):
        links.create("b", listen, "127.0.0.1:1")
    with pytest.raises(LinkError, match="no link 'b' at .* there are: a"):
        links.point("b", "127.0.0.1:2")


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    links = Links(address)
    assert links.version() is None
    with pytest.raises(LinkError, match=f"{address}.*is the link server running") as caught:
        links.names()
    assert caught.value.status == 0


def test_two_servers_in_one_process_do_not_mix(tmp_path):
    with embedded(tmp_path) as (first, _), embedded(tmp_path) as (second, _):
        one, other = Links(first), Links(second)
        one.create("a", "127.0.0.1:0", "127.0.0.1:1")
        other.create("b", "127.0.0.1:0", "127.0.0.1:1")
        assert (one.names(), other.names()) == (("a",), ("b",))


# --- what passes -------------------------------------------------------------------------------


def test_data_passes_both_ways_and_the_server_may_speak_first(links, upstreams):
    with connect(links.create("a", "127.0.0.1:0", upstreams(greet))) as client:
        assert receive(client, 5) == b"hello"
    with connect(links.create("b", "127.0.0.1:0", upstreams(echo))) as client:
        assert round_trip(client)[0] == b"ping"


def test_much_data_arrives_whole_and_a_half_closed_client_gets_its_reply(ours, upstreams):
    data = bytes(range(256)) * (1 << 17)
    listen = ours.create("a", "127.0.0.1:0", upstreams(reply_at_the_end))
    ours.add_latency("a", 1, 1, stream="upstream")
    with connect(listen) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        expected = hashlib.sha256(data).digest() + len(data).to_bytes(8, "big")
        assert receive(client, 40) == expected
        assert ends(client)


def test_a_reader_that_stops_stops_the_sender(links, upstreams):
    stop = threading.Event()
    listen = links.create("a", "127.0.0.1:0", upstreams(lambda _: stop.wait(PATIENCE_S) and None))
    with connect(listen, 1.0) as client, pytest.raises(TimeoutError):
        for _ in range(512):
            client.sendall(bytes(1 << 20))
    stop.set()


def test_an_upstream_that_refuses_ends_the_connection(links):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with connect(links.create("a", "127.0.0.1:0", address)) as client:
        assert ends(client)


def test_an_upstream_that_hangs_holds_up_nobody(ours, upstreams):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hanging, contextlib.ExitStack() as s:
        address = f"127.0.0.1:{hanging.getsockname()[1]}"
        for _ in range(4):  # fill the backlog, so that the next one waits for ever
            one = s.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(hanging.getsockname())
        listen = ours.create("a", "127.0.0.1:0", address)
        waiting = [s.enter_context(connect(listen)) for _ in range(3)]
        started_s = time.monotonic()
        ours.point("a", upstreams(echo))
        assert all(ends(client) for client in waiting)
        assert time.monotonic() - started_s < 4.0  # less than the dial may take
        with connect(listen) as client:
            assert round_trip(client)[0] == b"ping"


# --- cutting and pointing ----------------------------------------------------------------------


def test_a_cut_link_ends_its_connections_and_refuses_new_ones_until_it_is_back(links, upstreams):
    listen = links.create("a", "127.0.0.1:0", upstreams(echo))
    with connect(listen) as client:
        round_trip(client)
        links.disable("a")
        assert ends(client)
    with pytest.raises(ConnectionRefusedError):
        connect(listen)
    links.disable("a")
    links.enable("a")
    links.enable("a")
    assert links.state_of("a").listen == listen
    with connect(listen) as client:
        assert round_trip(client)[0] == b"ping"


def test_nothing_else_is_given_the_port_of_a_cut_link(ours):
    listen = ours.create("a", "127.0.0.1:0", "127.0.0.1:1")
    ours.disable("a")
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", int(listen.rsplit(":", 1)[1])))
    ours.destroy("a")
    with socket.socket() as heir:
        heir.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        heir.bind(("127.0.0.1", int(listen.rsplit(":", 1)[1])))


def test_an_address_that_cannot_be_had_changes_nothing(server, ours, upstreams):
    listen = ours.create("a", "127.0.0.1:0", upstreams(echo))
    taken = ours.create("b", "127.0.0.1:0", "127.0.0.1:1")
    with connect(listen) as client:
        round_trip(client)
        wish = {"listen": taken, "upstream": "127.0.0.1:1"}
        assert ask(server[1], "PATCH", "/proxies/a", wish)[0] == 500
        assert round_trip(client)[0] == b"ping"


def test_pointing_elsewhere_keeps_address_and_toxics_and_drops_connections(links, upstreams):
    first, second = upstreams(echo), upstreams(shout)
    listen = links.create("a", "127.0.0.1:0", first)
    links.add_latency("a", 1)
    before = links.toxics_of("a")
    with connect(listen) as client:
        assert round_trip(client)[0] == b"ping"
        links.point("a", second)
        assert ends(client)
    assert links.state_of("a") == LinkState("a", listen, second, enabled=True)
    assert links.toxics_of("a") == before
    with connect(listen) as client:
        assert round_trip(client)[0] == b"PING"


# --- latency -----------------------------------------------------------------------------------


def test_latency_meets_open_connections_adds_up_and_leaves_at_once(links, upstreams):
    with connect(links.create("a", "127.0.0.1:0", upstreams(echo))) as client:
        round_trip(client)
        links.add_latency("a", 200)
        assert 0.195 < round_trip(client)[1] < PATIENCE_S
        links.add_latency("a", 100, stream="upstream")
        links.add_latency("a", 100, toxic="more")
        assert 0.395 < round_trip(client)[1] < PATIENCE_S
        links.reset()
        assert min(round_trip(client)[1] for _ in range(20)) < 0.195


def test_removing_latency_lets_go_of_what_it_held(links, upstreams):
    with connect(links.create("a", "127.0.0.1:0", upstreams(echo))) as client:
        round_trip(client)
        toxic = links.add_latency("a", 3_600_000)
        client.sendall(b"held")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert links.remove_toxic("a", toxic) is True
        client.settimeout(PATIENCE_S)
        assert receive(client, 4) == b"held"
        assert round_trip(client)[0] == b"ping"


def test_chunks_are_timed_from_their_receipt_and_keep_their_order(links, upstreams):
    with connect(links.create("a", "127.0.0.1:0", upstreams(echo))) as client:
        links.add_latency("a", 100, 100)
        data = b"".join(b"%06d" % number for number in range(300))
        started_s = time.monotonic()
        for at in range(0, len(data), 6):
            client.sendall(data[at : at + 6])
            time.sleep(0.001)
        assert receive(client, len(data)) == data
        assert time.monotonic() - started_s < 15.0  # 300 times 100 ms, did delays accumulate


def test_the_end_of_the_stream_waits_behind_the_data(links, upstreams):
    def talk(client: socket.socket) -> None:
        client.sendall(client.recv(4))

    with connect(links.create("a", "127.0.0.1:0", upstreams(talk))) as client:
        links.add_latency("a", 300)
        client.sendall(b"last")
        assert receive(client, 4) == b"last"
        assert ends(client)


def test_toxicity_is_the_share_of_connections_met(links, upstreams):
    listen = links.create("a", "127.0.0.1:0", upstreams(echo))
    links.add_latency("a", 50, toxicity=0.5)
    met = 0
    for _ in range(40):
        with connect(listen) as client:  # twice: a busy machine may be slow once, never too fast
            met += min(round_trip(client)[1] for _ in range(2)) > 0.045
    assert 5 <= met <= 38


# --- the process -------------------------------------------------------------------------------


def test_a_stop_that_was_asked_for_ends_well_with_connections_open(tmp_path, upstreams):
    with embedded(tmp_path) as (address, process):
        listen = Links(address).create("a", "127.0.0.1:0", upstreams(echo))
        with connect(listen) as client:
            round_trip(client)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            assert ends(client)


@pytest.mark.parametrize("config", [b"{", b"{}", b'{"fd": null}', b"[]", b"\xff"])
def test_a_configuration_that_cannot_be_used_is_said_in_one_line(tmp_path, config):
    (tmp_path / "bad.json").write_bytes(config)
    command = [sys.executable, "-m", "fixtures.serving.links.server", str(tmp_path / "bad.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert b"bad.json" in done.stderr and len(done.stderr.splitlines()) == 1
