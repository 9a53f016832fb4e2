"""Limits the open WebSockets: of one user, whatever tokens and sessions they use, and of one process.

Each open socket looks for news a few times a second, so a hundred sockets of one viewer would slow everybody down.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from zenith_site.common.callers import Caller

Scoped = MutableMapping[str, Any]
Application = Callable[[Scoped, Any, Any], Awaitable[None]]

#: Close code: too many sockets are open.
TOO_MANY: Final = 4429


class SocketLimit:
    """Passes a connection on while the limits allow it; needs `scope["caller"]`.

    Arguments:
        for_user: sockets of one user in this process.
        for_process: sockets of all users in this process.
    """

    def __init__(self, application: Application, *, for_user: int, for_process: int) -> None:
        self.application = application
        self.for_user = for_user
        self.for_process = for_process
        self._open: Counter[object] = Counter()

    async def __call__(self, scope: Scoped, receive: Any, send: Any) -> None:
        """Count the connection for as long as it is open."""
        caller: Caller | None = scope["caller"]
        user = caller.user.pk if caller else None
        if self._open.total() >= self.for_process:
            await _refuse(receive, send, f"this process has {self.for_process} sockets open; try again later")
        elif self._open[user] >= self.for_user:
            await _refuse(receive, send, f"you have {self.for_user} sockets open; close one first")
        else:
            self._open[user] += 1
            try:
                await self.application(scope, receive, send)
            finally:
                self._open[user] -= 1
                self._open += Counter()  # forgets whoever has none


async def _refuse(receive: Any, send: Any, detail: str) -> None:
    await receive()
    # Browsers see the close code only of a socket that was accepted.
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps({"type": "ERROR", "detail": detail}, separators=(",", ":"))})
    await send({"type": "websocket.close", "code": TOO_MANY})
