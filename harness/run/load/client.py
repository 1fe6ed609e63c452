"""A small HTTP/1.1 client: one keep-alive connection, POST only, every instant its own.

Locust's own clients round times, hide the first byte and cost 100 to 450 us a request; this one
costs about 30 (a socket on gevent's loop, ``httptools`` for the parsing), which is what lets one
core hold an open loop at thousands of requests a second. It follows no redirects and never
retries: a request that fails was a failure.
"""

import errno
import math
import os
import socket
import time
from collections.abc import Mapping

import gevent
import httptools
import orjson
from gevent import monkey

_RawSocket = monkey.get_original("socket", "socket")  # we wait on the loop ourselves
_READ, _WRITE = 1, 2
_PIECE = 65536


class GaveUp(Exception):
    """Thrown into a greenlet whose request has run out of time."""


class BrokenAnswer(Exception):
    """The peer closed early, or what it sent is not HTTP."""


class Answer:
    """One answer, filled in as it arrives. Text is as sent; empty = the header was absent."""

    __slots__ = ("status", "node", "model", "version", "fallback", "mask", "body", "first_ns")

    def __init__(self) -> None:
        self.status = 0
        self.node = self.model = self.version = self.fallback = b""
        self.mask = -1
        self.body = b""
        self.first_ns = 0  # absolute CLOCK_MONOTONIC; 0 = not a byte came

    def prediction(self) -> tuple[int, float]:
        """(late as 0 or 1, score) of an Open Inference Protocol V2 body.

        Raises ``ValueError`` when the body is not one or lacks either output.
        """
        try:
            outputs = {o["name"]: o["data"][0] for o in orjson.loads(self.body)["outputs"]}
            late, score = outputs["late"], float(outputs["score"])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError("not a V2 answer with outputs late and score") from error
        if type(late) is not bool or math.isnan(score):
            raise ValueError("late is not a bool, or score not a number")
        return int(late), score


_TEXT = {
    b"x-served-by": "node",
    b"x-model": "model",
    b"x-model-version": "version",
    b"x-fallback": "fallback",
}


class Connection:
    """One connection to ``address``, opened when needed and kept. For one greenlet at a time."""

    def __init__(self, address: tuple[str, int], path: str, headers: Mapping[str, str]) -> None:
        lines = [f"POST {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")
        # Resolved once: a name server is no part of what is measured.
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        self._family, self._to = found[0], found[4]
        self._hub = gevent.get_hub()
        self._socket: socket.socket | None = None
        self._fd = -1
        self.answer = Answer()
        self._done = self._keep = False

    @property
    def is_open(self) -> bool:
        """Whether there is a socket; the peer may have closed it."""
        return self._socket is not None

    def open(self) -> None:
        """Connect. Raises ``OSError``, and ``GaveUp`` when thrown in."""
        self.close()
        raw = _RawSocket(self._family, socket.SOCK_STREAM)
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._fd = raw, raw.fileno()
        self._readable = self._hub.loop.io(self._fd, _READ)
        self._parser = httptools.HttpResponseParser(self)
        try:
            code = raw.connect_ex(self._to)
            if code == errno.EINPROGRESS:
                self._wait_writable()
                code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, f"connect to {self._to}: {os.strerror(code)}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._socket is not None:
            self._readable.stop()
            self._readable.close()  # before its descriptor can be given to another
            self._socket.close()
            self._socket = None

    def stale(self) -> bool:
        """Has the peer closed it (or spoken out of turn) while it lay idle?

        Servers close idle connections; a request written into one would count as a failure of
        the server, which it is not.
        """
        assert self._socket is not None
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def post(self, body: bytes) -> Answer:
        """Send ``body`` and wait for the whole answer, on a connection that is open.

        What has arrived is in ``self.answer`` even when this raises ``OSError``, ``BrokenAnswer``
        or ``GaveUp``; after any of them, ``close``.
        """
        answer, sock = self.answer, self._socket
        assert sock is not None
        self._done = False
        data = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        sent = sock.send(data)
        while sent < len(data):
            self._wait_writable()
            sent += sock.send(data[sent:])
        wait, readable, feed = self._hub.wait, self._readable, self._parser.feed_data
        while not self._done:
            wait(readable)
            piece = sock.recv(_PIECE)
            if answer.first_ns == 0 and piece:
                answer.first_ns = time.monotonic_ns()
            if not piece:
                raise BrokenAnswer("the connection was closed before the answer was whole")
            try:
                feed(piece)
            except httptools.HttpParserError as error:
                raise BrokenAnswer(f"not HTTP: {error}") from error
        answer.status = self._parser.get_status_code()
        if not self._keep:
            self.close()
        return answer

    def _wait_writable(self) -> None:
        watcher = self._hub.loop.io(self._fd, _WRITE)
        try:
            self._hub.wait(watcher)
        finally:
            watcher.stop()
            watcher.close()

    # What follows is called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the headers we know."""
        if name[:1] not in b"xX":
            return
        name = name.lower()
        field = _TEXT.get(name)
        if field is not None:
            setattr(self.answer, field, value)
        elif name == b"x-feature-mask" and value.isdigit() and len(value) < 10:
            self.answer.mask = int(value)

    def on_body(self, piece: bytes) -> None:
        """Keep the body."""
        self.answer.body += piece

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self._keep = self._parser.should_keep_alive()  # afterwards it speaks of the next message
        self._done = True
