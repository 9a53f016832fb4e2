"""The lease on a host: held by the agent whose PostgreSQL connection holds the host's advisory lock.

PostgreSQL releases the lock as soon as that connection ends, so the successor of a killed agent starts at once, and a second
agent waits as long as the first lives. The same connection renews `seen_at`: an agent that cannot send heartbeats cannot hold
the lock either. (A pooler in between must keep sessions: PgBouncer's transaction mode does not.)
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now

from infra_app.models import Host
from zenith_site.common.sessions import require_own_session

#: With the host's number, a lock that nothing else of this database uses ("host" in ASCII).
_LOCK: Final = 0x686F7374
#: Makes PostgreSQL notice within about 15 seconds that the agent's machine is lost, not only its process.
_KEEPALIVE: Final = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"


class LeaseLostError(Exception):
    """Another agent has taken over the host, or its row was deleted."""


class Lease:
    """One agent's lease on a host; used by a single thread, because the lock belongs to that thread's connection.

    Arguments:
        name: the host's.
        about: fields of the host's row that the agent sets: address, region, labels, its own version.
    """

    def __init__(self, name: str, about: Mapping[str, Any]) -> None:
        self.name = name
        self.run = uuid4()
        self._about = dict(about)

    def take(self) -> Host | None:
        """Return the host's row, created on first use; None while another agent holds the lease.

        Raises django.db.Error and SharedSessionError.
        """
        require_own_session()
        host, _ = Host.every.get_or_create(name=self.name, defaults={"address": self._about["address"]})
        with connection.cursor() as cursor:
            cursor.execute(_KEEPALIVE)
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, host.pk])
            if not cursor.fetchone()[0]:
                return None
        self.renew(host.pk, agent_id=self.run, forgotten_at=None, **self._about)
        host.refresh_from_db()
        return host

    def renew(self, host_id: int, **news: Any) -> None:
        """Renew the lease and write changed fields of the host's row. Raises LeaseLostError or django.db.Error."""
        rows = Host.every.filter(pk=host_id)
        if "agent_id" not in news:
            rows = rows.filter(agent_id=self.run)
        if not rows.update(seen_at=Now(), **news):
            raise LeaseLostError(self.name)

    def release(self, host_id: int) -> None:
        """Release the lease: the host is unreachable from now on, and the next agent need not wait."""
        Host.objects.filter(pk=host_id, agent_id=self.run).update(agent_id=None, seen_at=None)
        connection.close()
