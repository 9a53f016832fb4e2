"""From a node and its group to the container that runs it. Pure, but for the settings that it reads."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from infra_app.agent.names import GROUP_LABEL, HOST_LABEL, NODE_LABEL, REVISION_LABEL, container_name
from infra_app.gateway import ContainerSpec
from infra_app.gateway.spec import SECRETS_DIRECTORY
from infra_app.models import Node, NodeGroup
from infra_app.models.node import worker_name
from infra_app.variables import accepted

#: Processes and threads of a worker beside those of its slots, and for each slot.
_PROCESSES: Final = 128
_PROCESSES_PER_SLOT: Final = 32
_LOOPBACK: Final = ("localhost", "::1")


class NotReachableError(Exception):
    """A node could not reach the broker or the database at the address it would be given; the text says what to set."""


def container_spec(node: Node, host: UUID) -> ContainerSpec:
    """Return the container of a node on the host of this key. Raises NotReachableError."""
    group = node.group
    files = secret_files(group)
    return ContainerSpec(
        name=container_name(node.id),
        image=group.image,
        command=command(group),
        labels={
            HOST_LABEL: str(host), NODE_LABEL: str(node.id), GROUP_LABEL: str(group.id), REVISION_LABEL: str(node.revision),
        },
        environment=environment(group, files, SECRETS_DIRECTORY) | {"ZENITH_WORKER_NAME": worker_name(node)},
        network=settings.ZENITH_NODE_NETWORK,
        memory_bytes=group.memory_mb * 1024 * 1024,
        cpus=group.cpus,
        processes=_PROCESSES + _PROCESSES_PER_SLOT * group.concurrency,
        files=files,
    )  # fmt: skip


def command(group: NodeGroup) -> tuple[str, ...]:
    """Return what the image's entry point is told: its role, and that role's options."""
    # Each in one word with its value: Celery looks for some options in all words, and a queue may be called like one.
    return ("worker", f"--queues={','.join(group.queues)}", f"--concurrency={group.concurrency}")


def secret_files(group: NodeGroup) -> dict[str, str]:
    """Return what a worker must know and nobody else may: by the variable that says it. Raises NotReachableError."""
    own = {
        "DATABASE_URL": _reachable("ZENITH_NODE_DATABASE_URL", "DATABASE_URL"),
        "REDIS_URL": _reachable("ZENITH_NODE_REDIS_URL", "REDIS_URL"),
        "ZENITH_SECRET_KEY": settings.ZENITH_WORKER_SECRET_KEY,
    }
    return {**accepted(group.secrets), **own}


def environment(group: NodeGroup, files: Mapping[str, str], directory: str) -> dict[str, str]:
    """Return a worker's variables, Zenith's own above all others; secrets are named by the file that holds each."""
    ours = {
        "ZENITH_TASK_MODULES": ",".join(settings.ZENITH_TASK_MODULES),
        "ZENITH_CELERY_CONFIG": settings.ZENITH_CELERY_CONFIG,
        "ZENITH_MASK_KEYS": ",".join(settings.ZENITH_MASK_KEYS),
        "ZENITH_MASK_STORED": str(settings.ZENITH_MASK_STORED).lower(),
        # The image's own setting is production's.
        "ZENITH_DRILLS": str(settings.ZENITH_DRILLS).lower(),
        # Not a place to keep anything: the root file system cannot be written.
        "ZENITH_DATA_DIR": "/tmp/zenith",  # noqa: S108 (in the container, whose own it is)
    }
    return {**accepted(group.environment), **{f"{name}_FILE": f"{directory}/{name}" for name in files}, **ours}


def _reachable(name: str, usual: str) -> str:
    """Return an address for nodes. Raises NotReachableError where there is none, or it means the container itself."""
    address: str = getattr(settings, name)
    if not address:
        raise NotReachableError(
            f"Nodes have no way to reach {usual}: no Docker engine answered when `manage.py up` started its servers, "
            f"so they listen on loopback only. Start it again, or set {name}."
        )
    host = urlsplit(address).hostname or ""
    if host in _LOOPBACK or host.startswith("127."):
        raise NotReachableError(f"{usual} points at {host}, which inside a container is the container itself: set {name}.")
    return address
