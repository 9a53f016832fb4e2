"""Check that an agent sends heartbeats, for its container's health check (zenith_site/launch/healthcheck.py)."""

from django.conf import settings
from django.db import DatabaseError, connection

from infra_app.states import HOST_LOST_AFTER


def missed(_: list[str]) -> str:
    """Return why the agent of this container's host is unhealthy; empty if it is healthy or if PostgreSQL does not answer."""
    # Plain SQL: loading every Django app takes seconds if many containers share a machine.
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM now() - seen_at) FROM infra_app_host WHERE name = %s", [settings.ZENITH_AGENT_HOST]
            )
            row = cursor.fetchone()
    except DatabaseError:
        return ""
    online = row is not None and row[0] is not None and row[0] < HOST_LOST_AFTER
    return (
        ""
        if online
        else f"the agent of host {settings.ZENITH_AGENT_HOST} has sent no heartbeat in the last {HOST_LOST_AFTER:.0f} s"
    )
