"""A server that does almost nothing, so that what is measured is the client.

``python -m tests.bench.trivial_server`` prints its port. asyncio and httptools, no framework: a
prepared Open Inference Protocol V2 answer to whatever is asked.
"""

import asyncio
import sys
from typing import cast

import httptools

BODY = (
    b'{"model_name":"champion","model_version":"3f2a","id":"r","outputs":['
    b'{"name":"late","shape":[1],"datatype":"BOOL","data":[false]},'
    b'{"name":"score","shape":[1],"datatype":"FP32","data":[0.113]}]}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r\r\n"
    b"x-served-by: replica-0\r\nx-model: champion\r\nx-model-version: 3f2a\r\n"
    b"x-fallback: none\r\nx-feature-mask: 0\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Trivial(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
