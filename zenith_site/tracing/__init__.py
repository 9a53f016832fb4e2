"""Traces by OpenTelemetry, where an endpoint is configured by its own standard variables; docs/tracing.md.

`environment.py` says whether, `sdk.py` makes spans of what `zenith_worker.wire.spans` marks, `http.py` and `tasks.py` mark
requests and tasks. Without an endpoint it is not imported, and no signal or middleware is connected.
"""

import logging

from zenith_site.tracing import environment

logger = logging.getLogger(__name__)


def connect() -> None:
    """Set tracing up in this process where it is asked for. Called once, when Django is ready."""
    if not environment.is_enabled():
        return
    if missing := environment.missing():
        logger.error("No traces are sent: %s is not installed. Mend it with: %s", missing, environment.INSTALL)
        return
    from zenith_site.tracing import sdk, tasks

    sdk.set_up()
    tasks.connect()
