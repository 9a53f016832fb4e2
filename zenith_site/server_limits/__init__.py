"""Limits of what daphne reads, enforced below the application, because daphne has no options for them.

1. `connections`: a connection that can refuse a request without reading the rest of it, and one that is too slow.
2. `bodies`: a request with a limited body.
3. `frames`: a WebSocket with a limited size and rate of frames.
"""

import sys
from typing import NamedTuple

from zenith_site.common.callers import Rate


class Limits(NamedTuple):
    """The limits of requests and WebSockets.

    Arguments:
        body: bytes of a request's body.
        header_timeout: seconds in which a request's header must be complete.
        body_timeout: seconds after that in which its body must be complete.
        frame: bytes of a WebSocket's frame.
        frames: the rate of such frames.
    """

    body: int
    header_timeout: int
    body_timeout: int
    frame: int
    frames: Rate


def limit_server(limits: Limits) -> None:
    """Make daphne, if it runs in this process, build connections with these limits."""
    # Importing daphne loads Twisted and its reactor, which tests and shells do not need.
    if "daphne" not in sys.modules:
        return
    import daphne.server

    from zenith_site.server_limits.bodies import BoundedRequest
    from zenith_site.server_limits.connections import BoundedConnection, HTTPFactory
    from zenith_site.server_limits.frames import limit_frames

    BoundedRequest.limit = limits.body
    BoundedConnection.header_timeout = limits.header_timeout
    BoundedConnection.body_timeout = limits.body_timeout
    daphne.server.HTTPFactory = HTTPFactory
    daphne.server.WebSocketFactory = limit_frames(limits.frame, limits.frames)
