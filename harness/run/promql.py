"""One question to the stack's own Prometheus, answered with one number.

Only the abort guard asks while a run goes on. The query is sent as a form field and never pasted
into anything; an answer of several series is refused, because nobody would know which one counted.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from harness.protocols import Served, Stack
from harness.run.abort_guard import Ask

NODE = "prometheus"


class NoNumber(Exception):
    """It answered, but not with one number; the message says with what, and the remedy."""


def asker(stack: Stack) -> Ask | None:
    """How to ask this stack, which is up; ``None`` when it has no Prometheus."""
    address = stack.addresses().get(NODE, "") if isinstance(stack, Served) else ""
    if not address:
        return None
    url = address if "//" in address else f"http://{address}"
    host = urlsplit(url)

    async def ask(query: str) -> float | None:
        from aiohttp import ClientSession

        async with (
            ClientSession() as session,
            session.post(
                f"{host.scheme}://{host.netloc}/api/v1/query",
                data={"query": query},
                allow_redirects=False,
            ) as answer,
        ):
            return number(await answer.text())

    return ask


def number(text: str) -> float | None:
    """Read an answer of the HTTP API; ``None`` when there is no data. Raises ``NoNumber``."""
    try:
        body: Any = json.loads(text)
        if body["status"] != "success":
            raise NoNumber(str(body.get("error", "the query failed"))[:200])
        kind, result = body["data"]["resultType"], body["data"]["result"]
        if kind == "scalar":
            return float(result[1])
        if kind != "vector":
            raise NoNumber(f"the answer is a {kind}; write a query that gives one number")
        if len(result) > 1:
            raise NoNumber(f"the answer has {len(result)} series; aggregate it to one, as by sum()")
        return float(result[0]["value"][1]) if result else None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise NoNumber("the answer is not one of Prometheus") from None
