"""What daphne takes in, enforced below the application: daphne has no options for these limits.

1. `connections`: a connection, which refuses a request without reading the rest of it, and one that comes too slowly.
2. `bodies`: a request, whose body ends at a limit.
3. `frames`: a WebSocket, whose frames are neither too large nor too many.
"""

import sys
from typing import NamedTuple

from zenith_site.common.callers import Rate


class Limits(NamedTuple):
    """How much is taken in.

    Arguments:
        body: bytes of a request's body.
        header_timeout: seconds in which the header of a request has come to its end.
        body_timeout: seconds in which its body has, from then on.
        frame: bytes of a WebSocket's frame.
        frames: how many of them may come.
    """

    body: int
    header_timeout: int
    body_timeout: int
    frame: int
    frames: Rate


def limit_server(limits: Limits) -> None:
    """Make daphne, if it runs this process, build connections that keep to the limits."""
    # Importing daphne loads Twisted and its reactor: nothing for the tests or a shell.
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
