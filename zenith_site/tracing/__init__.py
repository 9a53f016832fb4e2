"""Tracing with OpenTelemetry, if its own standard variables configure an endpoint; docs/tracing.md.

`environment.py` tells whether tracing is enabled, `sdk.py` creates the spans that `zenith_worker.wire.spans` marks, `http.py` and
`tasks.py` mark requests and tasks. Without an endpoint, OpenTelemetry is not imported, and no signal or middleware is connected.
"""

import logging

from zenith_site.tracing import environment

logger = logging.getLogger(__name__)


def connect() -> None:
    """Set up tracing in this process if it is enabled. Called once, when Django is ready."""
    if not environment.is_enabled():
        return
    if missing := environment.missing():
        logger.error("No traces are sent: %s is not installed. Run: %s", missing, environment.INSTALL)
        return
    from zenith_site.tracing import sdk, tasks

    sdk.set_up()
    tasks.connect()
