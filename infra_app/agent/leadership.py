"""One agent's time as the voice of a host: from taking the lease until it is stopped or loses it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import DatabaseError, connection

from infra_app.agent.beats import Beats
from infra_app.agent.inventory_reporter import InventoryReporter
from infra_app.agent.lease import Lease, LeaseLostError
from infra_app.agent.listen import Listener
from infra_app.agent.logs import Logs
from infra_app.agent.loop import Loop
from infra_app.agent.node_reconciler import NodeReconciler
from infra_app.agent.probe import Probe
from infra_app.agent.services import Services
from infra_app.agent.stats import StatsReporter
from infra_app.gateway import Engine
from infra_app.gateway.swarm import Swarm
from infra_app.models import Host
from infra_app.states import HOST_BEAT
from zenith_site.common import faults, live_updates
from zenith_site.common.loops import keep_running

logger = logging.getLogger(__name__)

#: Seconds between two tries for a lease that another agent has.
TRY_EVERY: Final = 1.0
#: Seconds after an error that nobody foresaw.
AFTER_FAULT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Agent:
    """What an agent is started with.

    Attributes:
        about: fields of the host's row that it brings along.
        reached: called with the name of each thing done, for tests that kill the agent there.
    """

    name: str
    engine: Engine
    about: dict[str, Any] = field(default_factory=dict)
    reached: Callable[[str], None] = lambda _: None

    def run(self, stop: threading.Event) -> None:
        """Be the host's agent until stopped: wait for the lease, work while it lasts, and try anew after it is lost."""
        told = False
        while not stop.is_set():
            lease = Lease(self.name, self.about)
            try:
                host = lease.take()
                if host is not None:
                    told = False
                    _Leadership(self, lease, host).run(stop)
                elif not told:
                    told = True
                    logger.warning("Another agent speaks for host %s; this one waits until it ends.", self.name)
            except DatabaseError as error:
                logger.warning("The agent waits for the database: %s", error)
            except LeaseLostError:
                logger.warning("Host %s was taken over by another agent, or removed.", self.name)
            except Exception as error:
                faults.record_fault("agent", error)
                stop.wait(AFTER_FAULT)
            # With it goes the lock, should this agent still have it.
            connection.close()
            stop.wait(TRY_EVERY)


class _Leadership:
    def __init__(self, agent: Agent, lease: Lease, host: Host) -> None:
        self._lease = lease
        self._host = host
        self._over = threading.Event()
        beats = Beats()
        hand = NodeReconciler(agent.engine, host.pk, host.key, beats, agent.reached)
        self._loop = Loop(agent.engine, host.pk, host.key, hand, beats)
        self._probe = Probe(agent.engine, self._loop.touch_all)
        swarm = Swarm(agent.engine.connection)
        self._services = Services(swarm, host.pk, host.key, beats, lambda: self._probe.info)
        self._gauge = StatsReporter(agent.engine, host.pk, host.key)
        self._logs = Logs(agent.engine, host.pk)
        self._survey = InventoryReporter(agent.engine.connection, host.pk, host.key)
        self._listener = Listener(
            agent.engine, host.key, touched=self._loop.touch, changed=self._survey.changed, opened=self._loop.touch_all
        )

    def run(self, stop: threading.Event) -> None:
        """Work until stopped or until the lease is lost."""
        with faults.isolate_faults("agent probe", "the first look"):
            self._probe.look()
        self._lease.renew(self._host.pk, **self._probe.news())
        live_updates.refresh_pages("nodes")
        logger.warning("Agent of host %s.", self._host.name)
        parts = {
            "loop": self._loop.run, "probe": self._probe.run, "events": self._listener.run, "figures": self._gauge.run,
            "logs": self._logs.run, "survey": self._survey.run, "services": self._services.run,
        }  # fmt: skip
        threads = [
            threading.Thread(target=keep_running, args=(self._over, f"agent {name}", part), name=name)
            for name, part in parts.items()
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(HOST_BEAT):
                self._lease.renew(self._host.pk, **self._probe.news())
        finally:
            self._over.set()
            self._listener.close()
            for thread in threads:
                thread.join()
        self._lease.release(self._host.pk)
        live_updates.refresh_pages("nodes")
