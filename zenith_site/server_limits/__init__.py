"""What daphne takes in, enforced below the application: daphne has no options for these limits.

1. `connections`: a connection, which refuses a request without reading the rest of it.
2. `bodies`: a request, whose body ends at a limit.
3. `frames`: a WebSocket, whose frames end at a limit.
"""

import sys
from typing import NamedTuple


class Limits(NamedTuple):
    """How much is taken in.

    Arguments:
        body: bytes of a request's body.
        frame: bytes of a WebSocket's frame.
    """

    body: int
    frame: int


def limit_server(limits: Limits) -> None:
    """Make daphne, if it runs this process, build connections that keep to the limits."""
    # Importing daphne loads Twisted and its reactor: nothing for the tests or a shell.
    if "daphne" not in sys.modules:
        return
    import daphne.server

    from zenith_site.server_limits.bodies import BoundedRequest
    from zenith_site.server_limits.connections import HTTPFactory
    from zenith_site.server_limits.frames import limit_frames

    BoundedRequest.limit = limits.body
    daphne.server.HTTPFactory = HTTPFactory
    limit_frames(limits.frame)
