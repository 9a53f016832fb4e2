"""The ASGI entry point that daphne serves."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
# The settings, which the next call reads, then take connections to PostgreSQL from a pool.
os.environ.setdefault("ZENITH_PROCESS", "web")

# Django must be set up before anything that imports its models.
_http = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from tasks_app.web.consumers import MAX_FRAME  # noqa: E402
from tasks_app.web.routing import websocket_urlpatterns  # noqa: E402
from zenith_site.auth.socket_limit import SocketLimit  # noqa: E402
from zenith_site.auth.sockets import SocketAuth  # noqa: E402
from zenith_site.server_limits import Limits, limit_server  # noqa: E402
from zenith_site.sub_path import SubPath  # noqa: E402
from zenith_site.websocket_backpressure import WebSocketBackpressure  # noqa: E402

limit_server(
    Limits(
        body=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        header_timeout=settings.ZENITH_HEADER_TIMEOUT,
        body_timeout=settings.ZENITH_BODY_TIMEOUT,
        frame=MAX_FRAME,
        frames=settings.ZENITH_SOCKET_FRAME_LIMIT,
    )
)
_sockets = SocketLimit(
    URLRouter(websocket_urlpatterns),
    for_user=settings.ZENITH_SOCKETS_PER_USER,
    for_process=settings.ZENITH_SOCKETS_PER_PROCESS,
)

application = ProtocolTypeRouter(
    {
        "http": SubPath(_http),
        "websocket": WebSocketBackpressure(SubPath(SocketAuth(_sockets))),
    }
)
