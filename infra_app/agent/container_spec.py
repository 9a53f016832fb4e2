"""Build a node's container specification from the node and its group. Pure, except that it reads settings."""

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

#: Limit on processes and threads: for the worker itself, and for each of its slots.
_PROCESSES: Final = 128
_PROCESSES_PER_SLOT: Final = 32
_LOOPBACK: Final = ("localhost", "::1")


class NotReachableError(Exception):
    """A node could not reach Redis at its configured address; the message says what to set."""


def container_spec(node: Node, host: UUID) -> ContainerSpec:
    """Return the specification of a node's container on the host with this key. Raises NotReachableError."""
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
    """Return the arguments of the image's entry point: the role and its options."""
    # `--option=value` in one word: Celery searches all words for some options, and a queue may be named like one.
    return ("worker", f"--queues={','.join(group.queues)}", f"--concurrency={group.concurrency}")


def secret_files(group: NodeGroup) -> dict[str, str]:
    """Return a worker's secrets by the name of the variable that carries each. Raises NotReachableError."""
    own = {
        "REDIS_URL": _reachable("ZENITH_NODE_REDIS_URL", "REDIS_URL"),
        "ZENITH_SECRET_KEY": settings.ZENITH_WORKER_SECRET_KEY,
    }
    return {**accepted(group.secrets), **own}


def environment(group: NodeGroup, files: Mapping[str, str], directory: str) -> dict[str, str]:
    """Return a worker's environment variables; Zenith's own take precedence, and each secret is given as the path of its file."""
    ours = {
        "ZENITH_TASK_MODULES": ",".join(settings.ZENITH_TASK_MODULES),
        "ZENITH_CELERY_CONFIG": settings.ZENITH_CELERY_CONFIG,
        "ZENITH_MASK_KEYS": ",".join(settings.ZENITH_MASK_KEYS),
        "ZENITH_MASK_STORED": str(settings.ZENITH_MASK_STORED).lower(),
        # The image defaults to production's setting.
        "ZENITH_DRILLS": str(settings.ZENITH_DRILLS).lower(),
        "ZENITH_TASK_LOGS": settings.ZENITH_TASK_LOGS,
        # Scratch space only: the root file system is read-only.
        "ZENITH_DATA_DIR": "/tmp/zenith",  # noqa: S108 (in the container, whose own it is)
    }
    return {**accepted(group.environment), **{f"{name}_FILE": f"{directory}/{name}" for name in files}, **ours}


def _reachable(name: str, usual: str) -> str:
    """Return an address for nodes. Raises NotReachableError if none is set, or if it points at the container itself."""
    address: str = getattr(settings, name)
    if not address:
        raise NotReachableError(
            f"Nodes cannot reach {usual}: no Docker Engine answered when `manage.py up` started its servers, "
            f"so they listen on loopback only. Restart `manage.py up`, or set {name}."
        )
    host = urlsplit(address).hostname or ""
    if host in _LOOPBACK or host.startswith("127."):
        raise NotReachableError(f"{usual} points at {host}, which inside a container is the container itself: set {name}.")
    return address
