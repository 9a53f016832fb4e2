"""A site that is served below a path, such as `https://example.com/zenith/`, by a proxy that takes the path off or leaves it on.

Probes and scrapers, which come past the proxy, may leave it out as well.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.urls import set_script_prefix

from zenith_site.common.site_paths import site_root

Application = Callable[[Any, Any, Any], Awaitable[None]]


class SubPath:
    """Gives each request the whole path, which Django expects, and each WebSocket the one below the site's root."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass the connection on."""
        if root := site_root():
            path = scope["path"]
            below = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
            scope = {**scope, "path": below if scope["type"] == "websocket" else root + below}
            # For links in what a socket sends; for a request Django sets it.
            set_script_prefix(f"{root}/")
        await self.application(scope, receive, send)
