"""Validate deployments: names, sizes, images and environment of nodes. Errors name every invalid member; nothing is written.

Nobody can give a node a mount, a device, a capability or a privilege: there is no field for one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings

from infra_app import images
from infra_app.models import NodeGroup
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.variables import accepted, why_refused
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.jsonsafe import escape
from zenith_site.common.masking import MASK
from zenith_worker.wire import queue_names

MAX_NAME: Final = 50
MAX_REPLICAS: Final = 100
MAX_QUEUES: Final = 100
MAX_CONCURRENCY: Final = 1000
MIN_MEMORY_MB: Final = 64
MAX_MEMORY_MB: Final = 1_048_576
MIN_CPUS: Final = 0.01
MAX_CPUS: Final = 1024
MAX_VARIABLES: Final = 100
MAX_VALUE: Final = 16_384
MAX_LABELS: Final = 20

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
#: A queue that a node takes: like any other (queue_names.py), but the worker's command line lists them with commas.
QUEUE: Final = re.compile(rf"[!-+\--~]{{1,{queue_names.MAX_NAME}}}")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
REGION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# The grammar of references, https://pkg.go.dev/github.com/distribution/reference, without upper case in a name.
IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]{1,5})?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A request for a group of nodes; NodeGroup explains the members. Without a name, one is generated."""

    name: str = ""
    replicas: int = 1
    kind: str = GroupKind.CONTAINERS
    image: str = ""
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 1
    memory_mb: int = 512
    cpus: float = 1.0
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    restart_policy: str = RestartPolicy.ALWAYS
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    host: str = ""

    @classmethod
    def of(cls, group: NodeGroup) -> "Deployment":
        """Return a group as a deployment, without variables that are no longer allowed; reads its host."""
        return cls(
            name=group.name, replicas=max(1, group.replicas), kind=group.kind, image=group.image, queues=tuple(group.queues),
            concurrency=group.concurrency, memory_mb=group.memory_mb, cpus=group.cpus, environment=accepted(group.environment),
            secrets=accepted(group.secrets), restart_policy=group.restart_policy, region=group.region, labels=group.labels,
            host=group.host.name if group.host else "",
        )  # fmt: skip


def check_deployment(deployment: Deployment) -> None:
    """Raise InvalidInputError, naming every invalid member, unless the deployment is valid."""
    problems = list(_problems(deployment))
    if problems:
        raise InvalidInputError(*problems)


def check_replicas(replicas: int, *, least: int = 0) -> None:
    """Raise InvalidInputError unless a group may have this many nodes."""
    problems = list(_range("/replicas", replicas, least, MAX_REPLICAS))
    if problems:
        raise InvalidInputError(*problems)


def allowed_images() -> list[str]:
    """Return the patterns of the images that a node may run."""
    return list(settings.ZENITH_ALLOWED_IMAGES)


def label_problems(labels: Mapping[str, Any], pointer: str) -> Iterator[Problem]:
    """Yield the problems of a host's labels, or of the labels that a deployment requires."""
    if len(labels) > MAX_LABELS:
        yield Problem(pointer, f"at most {MAX_LABELS}")
    for name, value in labels.items():
        member = f"{pointer}/{escape(name)}"
        if not LABEL.fullmatch(name):
            yield Problem(
                member,
                "a label's name must be 1 to 63 letters, digits, '.', '_', '/' or '-', and start and end with a letter or digit",
            )
        if not isinstance(value, str) or len(value) > 63 or not value.isprintable():
            yield Problem(member, "a label's value must be text of at most 63 printable characters")


def region_problems(region: str) -> Iterator[Problem]:
    """Yield the problems of a region's name; an empty name is valid and means no region."""
    if region and not REGION.fullmatch(region):
        yield Problem("/region", "must be 1 to 63 letters, digits, '.', '_' or '-', and start and end with a letter or digit")


def why_unusable(queue: str) -> str | None:
    """Return why a node cannot take a queue of this name; None if it can."""
    if not QUEUE.fullmatch(queue):
        return f"must be 1 to {queue_names.MAX_NAME} printable ASCII characters without commas or spaces"
    return queue_names.why_reserved(queue)


def _problems(deployment: Deployment) -> Iterator[Problem]:
    if deployment.name and not (NAME.fullmatch(deployment.name) and len(deployment.name) <= MAX_NAME):
        yield Problem(
            "/name", f"must be 1 to {MAX_NAME} lower-case letters, digits or '-', and start and end with a letter or digit"
        )
    yield from _range("/replicas", deployment.replicas, 1, MAX_REPLICAS)
    yield from _choice("/kind", deployment.kind, GroupKind.values)
    yield from _image_problems(deployment.image)
    yield from _queue_problems(deployment.queues)
    yield from _range("/concurrency", deployment.concurrency, 1, MAX_CONCURRENCY)
    yield from _range("/memory_mb", deployment.memory_mb, MIN_MEMORY_MB, MAX_MEMORY_MB)
    yield from _range("/cpus", deployment.cpus, MIN_CPUS, MAX_CPUS)
    yield from _variable_problems("/environment", deployment.environment)
    yield from _variable_problems("/secrets", deployment.secrets)
    for name in sorted(deployment.environment.keys() & deployment.secrets.keys()):
        yield Problem(f"/secrets/{escape(name)}", "is also in `environment`; a name may be in only one of the two")
    yield from _choice("/restart_policy", deployment.restart_policy, RestartPolicy.values)
    yield from region_problems(deployment.region)
    yield from label_problems(deployment.labels, "/labels")


def _image_problems(image: str) -> Iterator[Problem]:
    if len(image) > 255 or not IMAGE.fullmatch(image):
        yield Problem("/image", "must be an image name, such as registry.example.com/zenith:1.4")
    elif not images.allows(allowed_images(), image):
        yield Problem("/image", f"{image!r} is not allowed; ZENITH_ALLOWED_IMAGES allows: {', '.join(allowed_images())}")


def _queue_problems(queues: tuple[str, ...]) -> Iterator[Problem]:
    if not 1 <= len(queues) <= MAX_QUEUES:
        yield Problem("/queues", f"must be 1 to {MAX_QUEUES} names")
    for index, queue in enumerate(queues):
        if reason := why_unusable(queue):
            yield Problem(f"/queues/{index}", reason)
        elif queue in queues[:index]:
            yield Problem(f"/queues/{index}", f"{queue!r} is listed twice")


def _variable_problems(pointer: str, variables: Mapping[str, Any]) -> Iterator[Problem]:
    if len(variables) > MAX_VARIABLES:
        yield Problem(pointer, f"at most {MAX_VARIABLES} variables")
    for name, value in variables.items():
        member = f"{pointer}/{escape(name)}"
        if not VARIABLE.fullmatch(name):
            yield Problem(member, "a variable's name must be letters, digits and '_', and must not start with a digit")
        elif reason := why_refused(name):
            yield Problem(member, reason)
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            yield Problem(member, f"must be text of at most {MAX_VALUE:,} characters")
        elif "\x00" in value:
            yield Problem(member, "must not contain NUL characters")
        elif value == MASK:
            yield Problem(member, f"{MASK!r} is what a masked secret is shown as; send the secret itself")


def _range(pointer: str, value: float, lowest: float, highest: float) -> Iterator[Problem]:
    if not lowest <= value <= highest:
        yield Problem(pointer, f"must be between {lowest:,} and {highest:,}")


def _choice(pointer: str, value: str, choices: list[Any]) -> Iterator[Problem]:
    if value not in choices:
        yield Problem(pointer, f"must be one of: {', '.join(choices)}")
