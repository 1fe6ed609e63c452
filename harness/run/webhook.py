"""The harness's own pager: an HTTP receiver that Alertmanager notifies.

A notification is stamped once its body is read and parsed: on loopback a millisecond or so after it
arrived, so that what error there is makes a detection later, never earlier. The path carries a
secret made for the run, so that nothing else on the machine can page by accident.
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from harness.protocols import Notification

MAX_BYTES = 4 * 1024 * 1024


class Webhook:
    """An async context manager; ``url`` is where to notify, and ``notify`` gets each alert."""

    def __init__(self, notify: Callable[[Notification], None]) -> None:
        self._notify = notify
        self._path = f"/alerts/{secrets.token_urlsafe(16)}"
        self._runner: Any = None
        self.url = ""

    async def __aenter__(self) -> Self:
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post(self._path, self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}{self._path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: Any) -> Any:
        from aiohttp import web

        try:
            found = notifications(await request.json())
        except (ValueError, KeyError, TypeError) as wrong:
            return web.Response(status=400, text=f"not an Alertmanager notification: {wrong!r}")
        for notification in found:
            self._notify(notification)
        return web.Response(text="ok")


def notifications(body: Any) -> list[Notification]:
    """Read the body of an Alertmanager webhook (version 4), tolerating keys we do not know.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is something else.
    """
    return [
        Notification(
            str(alert["status"]),
            {str(k): str(v) for k, v in alert["labels"].items()},
            datetime.fromisoformat(alert["startsAt"]).timestamp(),
        )
        for alert in body["alerts"]
    ]
