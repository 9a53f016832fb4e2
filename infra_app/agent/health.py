"""Whether an agent was heard of lately, for its container's health check (zenith_site/launch/healthcheck.py)."""

from django.conf import settings
from django.db import DatabaseError, connection

from infra_app.states import HOST_LOST_AFTER


def missed(_: list[str]) -> str:
    """Return why the agent of this container's host is not well; empty if it is, or if nobody can tell."""
    # Not through the models: loading every app takes seconds if many containers share a machine.
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM now() - seen_at) FROM infra_app_host WHERE name = %s", [settings.ZENITH_AGENT_HOST]
            )
            row = cursor.fetchone()
    except DatabaseError:
        return ""
    online = row is not None and row[0] is not None and row[0] < HOST_LOST_AFTER
    return "" if online else f"the agent of host {settings.ZENITH_AGENT_HOST} has not been heard of lately"
