"""An agent's leadership of a host: from taking the lease until it is stopped or loses the lease."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import DatabaseError, connection

from infra_app.agent.event_listener import EventListener
from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.inventory_reporter import InventoryReporter
from infra_app.agent.lease import Lease, LeaseLostError
from infra_app.agent.log_follower import LogFollowers
from infra_app.agent.loop import ReconcileLoop
from infra_app.agent.node_reconciler import NodeReconciler
from infra_app.agent.probe import Probe
from infra_app.agent.stats import StatsReporter
from infra_app.agent.swarm_services import SwarmServices
from infra_app.gateway import Engine
from infra_app.gateway.swarm import Swarm
from infra_app.models import Host
from infra_app.states import HOST_HEARTBEAT_EVERY
from zenith_site.common import faults, live_updates
from zenith_site.common.loops import keep_running

logger = logging.getLogger(__name__)

#: Seconds between two attempts to take a lease that another agent holds.
TRY_EVERY: Final = 1.0
#: Seconds to wait after an unexpected error.
AFTER_FAULT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent of one host.

    Attributes:
        about: fields of the host's row that the agent sets.
        reached: called with the name of each step taken, for tests that kill the agent there.
    """

    name: str
    engine: Engine
    about: dict[str, Any] = field(default_factory=dict)
    reached: Callable[[str], None] = lambda _: None

    def run(self, stop: threading.Event) -> None:
        """Run until stopped: wait for the lease, work while holding it, and try to take it again after losing it."""
        warned = False
        while not stop.is_set():
            lease = Lease(self.name, self.about)
            try:
                host = lease.take()
                if host is not None:
                    warned = False
                    _Leadership(self, lease, host).run(stop)
                elif not warned:
                    warned = True
                    logger.warning("Another agent holds the lease on host %s; waiting for it to stop.", self.name)
            except DatabaseError as error:
                logger.warning("Waiting for the database: %s", error)
            except LeaseLostError:
                logger.warning("Host %s was taken over by another agent, or removed.", self.name)
            except Exception as error:
                faults.record_fault("agent", error)
                stop.wait(AFTER_FAULT)
            # Closing the connection releases the advisory lock if this agent still holds it.
            connection.close()
            stop.wait(TRY_EVERY)


class _Leadership:
    def __init__(self, agent: Agent, lease: Lease, host: Host) -> None:
        self._lease = lease
        self._host = host
        self._stopped = threading.Event()
        heartbeats = HeartbeatCache()
        reconciler = NodeReconciler(agent.engine, host.pk, host.key, heartbeats, agent.reached)
        self._loop = ReconcileLoop(agent.engine, host.pk, host.key, reconciler, heartbeats)
        self._probe = Probe(agent.engine, self._loop.touch_all)
        swarm = Swarm(agent.engine.connection)
        self._services = SwarmServices(swarm, host.pk, host.key, heartbeats, lambda: self._probe.info)
        self._stats_reporter = StatsReporter(agent.engine, host.pk, host.key)
        self._logs = LogFollowers(agent.engine, host.pk)
        self._inventory_reporter = InventoryReporter(agent.engine.connection, host.pk, host.key)
        self._listener = EventListener(
            agent.engine,
            host.key,
            touched=self._loop.touch,
            changed=self._inventory_reporter.changed,
            opened=self._loop.touch_all,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until stopped, or until LeaseLostError is raised."""
        with faults.isolate_faults("agent probe", "the first look"):
            self._probe.look()
        self._lease.renew(self._host.pk, **self._probe.news())
        live_updates.refresh_pages("nodes")
        logger.warning("This agent now holds the lease on host %s.", self._host.name)
        # The names are labels of zenith_faults_total and stay as they are.
        parts = {
            "loop": self._loop.run, "probe": self._probe.run, "events": self._listener.run, "figures": self._stats_reporter.run,
            "logs": self._logs.run, "survey": self._inventory_reporter.run, "services": self._services.run,
        }  # fmt: skip
        threads = [
            threading.Thread(target=keep_running, args=(self._stopped, f"agent {name}", part), name=name)
            for name, part in parts.items()
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(HOST_HEARTBEAT_EVERY):
                self._lease.renew(self._host.pk, **self._probe.news())
        finally:
            self._stopped.set()
            self._listener.close()
            for thread in threads:
                thread.join()
        self._lease.release(self._host.pk)
        live_updates.refresh_pages("nodes")
