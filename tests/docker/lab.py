"""A lab for nodes: a Zenith engine, agents of real Docker hosts, and helpers for tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit
from uuid import UUID

from django.utils import timezone

from infra_app import nodes
from infra_app.agent.names import HOST_LABEL, NODE_LABEL
from infra_app.gateway import Connection, Engine
from infra_app.gateway.bridge import default_bridge
from infra_app.models import Host, Node, NodeGroup
from infra_app.states import NodeStatus
from infra_app.validation import Deployment
from tasks_app.models import Task
from tests.processes import Process
from tests.stack import Stack, environment
from tests.waiting import eventually

FIRST_ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
#: A node that takes longer to be ready is a failure on any machine; tests print the actual time.
READY_WITHIN = 240.0
#: Small, so that many fit; a worker with one slot needs about 120 MB.
SMALL = {"memory_mb": 256, "cpus": 1.0, "concurrency": 1}


class Lab:
    """The agents of one test module, on a stack of its own.

    Arguments:
        image: the image that nodes run.
    """

    def __init__(self, stack: Stack, image: str) -> None:
        self.stack = stack
        self.image = image
        self._keys: set[str] = set()
        self._engines: dict[str, Engine] = {}
        self._addresses = self._relayed()

    def engine(self, url: str = FIRST_ENGINE) -> Engine:
        """Return an engine, for a test to inspect directly."""
        return self._engines.setdefault(url, Engine(Connection(url)))

    def agent(self, host: str, url: str = FIRST_ENGINE, *options: str, name: str = "") -> Process:
        """Start a host's agent and wait until it holds the host's lease."""
        before = self.host(host).agent_id
        process = self.agent_process(host, url, *options, name=name)
        self.speaks(host, process, before)
        return process

    def speaks(self, host: str, process: Process, before: UUID | None = None) -> None:
        """Wait until an agent holds a host's lease that is not the previous one."""

        def look() -> object:
            assert process.runs, f"{process.name} ended:\n{process.output[-3000:]}"
            row = self.host(host)
            return row.agent_id not in (None, before) and row.online and row.cpus

        eventually(look, within=40, but=lambda: process.output[-3000:])

    def agent_process(self, host: str, url: str = FIRST_ENGINE, *options: str, name: str = "") -> Process:
        """Start a host's agent."""
        command = ("manage.py", "run_agent", "--host", host, "--engine", url, *options)
        return self.stack.start(name or f"agent-{host}", *command, **self._addresses)

    def dying_agent(self, host: str, after: str, url: str = FIRST_ENGINE) -> Process:
        """Start an agent that is killed with SIGKILL after it has taken a step for the first time."""
        return self.stack.start(f"dying-{host}", "-m", "tests.docker.dying_agent", host, url, after, **self._addresses)

    def host(self, name: str) -> Host:
        """Return a host's row, and remember to clean up what its agents create."""
        host = Host.objects.filter(name=name).first() or Host(name=name)
        if host.pk:
            self._keys.add(str(host.key))
        return host

    def new_host(self, name: str) -> Host:
        """Create a host's row before its first agent starts, as if it were online, so that nodes can be placed on it."""
        host, _ = Host.objects.update_or_create(
            name=name,
            defaults={
                "address": FIRST_ENGINE,
                "seen_at": timezone.now(),
                "cpus": 8,
                "memory_bytes": 16 << 30,
                "engine_error": "",
            },
        )
        return self.host(host.name)

    def deploy(self, name: str, **asked: object) -> NodeGroup:
        """Deploy small nodes of the project's image."""
        deployment = Deployment(**{"name": name, "image": self.image, "queues": (name,), **SMALL, **asked})  # type: ignore[arg-type]
        return nodes.deploy(deployment, by="the test")

    def ready(self, group: NodeGroup, count: int = 1, *, within: float = READY_WITHIN) -> list[Node]:
        """Wait until `count` nodes of a group are ready, and return them."""

        def found() -> list[Node]:
            return list(self.nodes(group).filter(status=NodeStatus.READY))

        eventually(lambda: len(found()) == count, within=within, but=lambda: self.told(group))
        return found()

    def nodes(self, group: NodeGroup) -> object:
        """Return the nodes of a group that are not removed."""
        return (
            Node.objects.filter(group=group).exclude(status=NodeStatus.REMOVED).select_related("group", "host").order_by("name")
        )

    def until(self, node: Node, condition: Callable[[Node], object], *, within: float = 60.0) -> Node:
        """Wait until a node's row meets a condition."""

        def look() -> object:
            node.refresh_from_db()
            return condition(node)

        eventually(look, within=within, but=lambda: self.told(node.group))
        return node

    def order(self, verb: str, *ordered: Node) -> None:
        """Apply an action to nodes."""
        outcome = nodes.act(verb, [node.pk for node in ordered], by="the test")
        assert not outcome.refused, outcome.refused

    def told(self, group: NodeGroup) -> str:
        """Return everything known about a group, for the message of a failure."""
        parts = []
        for node in Node.objects.filter(group=group):
            parts.append(f"{node.name} {node.desired} {node.status} {node.reason} (falls {node.falls}, restarts {node.restarts})")
            parts += [f"  {event.at:%H:%M:%S} {event.kind} {event.message}" for event in node.events.order_by("id")]
            parts.append(node.log_tail[-1500:])
        return "\n".join(parts) + "\n" + self.stack.news()

    def containers(self, node: Node, url: str = FIRST_ENGINE) -> list[str]:
        """Return the ids of the containers with a node's label."""
        return [box.id for box in self.engine(url).owned(f"{NODE_LABEL}={node.pk}")]

    def finished(self, tasks: Iterable[Task], *, within: float = 60.0) -> list[Task]:
        """Wait until tasks have ended, and return them."""
        ids = [task.pk for task in tasks]

        def ended() -> list[Task]:
            return list(Task.objects.filter(pk__in=ids, finished_at__isnull=False))

        eventually(
            lambda: len(ended()) == len(ids),
            within=within,
            but=lambda: list(Task.objects.filter(pk__in=ids).values_list("status", "worker")),
        )
        return ended()

    def clear(self) -> None:
        """Stop the agents, and remove every container that they created, on every engine that they used."""
        for process in self.stack.processes:
            if process.name.startswith("agent-"):
                process.kill()
        for engine in self._engines.values():
            for key in self._keys:
                for box in engine.owned(f"{HOST_LABEL}={key}"):
                    engine.remove(box.id)
            engine.connection.close()
        self._engines.clear()

    def _relayed(self) -> dict[str, str]:
        """Make the test's Redis reachable through the bridge, and return the address for nodes."""
        bridge = default_bridge(self.engine().connection)
        assert bridge is not None, "the engine has no bridge on this machine"
        given = environment()
        url = given["REDIS_URL"]
        self.stack.start("relay", "-m", "tests.docker.relay", bridge.address, str(urlsplit(url).port))
        return {"ZENITH_NODE_REDIS_URL": url.replace("127.0.0.1", bridge.address)}


def kill(process: Process) -> None:
    """Kill a process with SIGKILL, and wait until it has exited."""
    process.signal(signal.SIGKILL)
    process.popen.wait(10)


def took(what: str, began: float) -> None:
    """Print how long something took; a busy machine is not a failure."""
    print(f"{what} after {time.monotonic() - began:.1f} s")  # noqa: T201 (shown with -s, and where a test fails)
