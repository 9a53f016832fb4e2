"""Serves the site below a path, such as `https://example.com/zenith/`, whether the proxy removes the path or not.

Probes and scrapers that bypass the proxy may omit it as well.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.urls import set_script_prefix

from zenith_site.common.site_paths import site_root

Application = Callable[[Any, Any, Any], Awaitable[None]]


class SubPath:
    """Gives each request its full path, as Django expects it, and each WebSocket the path below the site's root."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass the connection on."""
        if root := site_root():
            path = scope["path"]
            below = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
            scope = {**scope, "path": below if scope["type"] == "websocket" else root + below}
            # For links in a socket's messages; for requests Django sets it.
            set_script_prefix(f"{root}/")
        await self.application(scope, receive, send)
