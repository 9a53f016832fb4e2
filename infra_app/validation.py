"""What may be asked for: names, sizes, images and environment of nodes. Every culprit is named; nothing is written.

A node never gets a mount, a device, a capability or a privilege: there is no field to ask for one, for anybody.
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
from zenith_worker.wire.queue_names import why_reserved

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
QUEUE: Final = re.compile(r"[!-+\--~]{1,100}")
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
    """A group of nodes as somebody asks for it; NodeGroup explains the members. No name means: make one up."""

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
        """Return what a group is, without variables that its nodes are not given any more; reads its host."""
        return cls(
            name=group.name, replicas=max(1, group.replicas), kind=group.kind, image=group.image, queues=tuple(group.queues),
            concurrency=group.concurrency, memory_mb=group.memory_mb, cpus=group.cpus, environment=accepted(group.environment),
            secrets=accepted(group.secrets), restart_policy=group.restart_policy, region=group.region, labels=group.labels,
            host=group.host.name if group.host else "",
        )  # fmt: skip


def check(asked: Deployment) -> None:
    """Raise InvalidInputError, naming every culprit, unless this may be deployed."""
    problems = list(_problems(asked))
    if problems:
        raise InvalidInputError(*problems)


def check_replicas(replicas: int, *, least: int = 0) -> None:
    """Raise InvalidInputError unless a group may have so many nodes."""
    problems = list(_range("/replicas", replicas, least, MAX_REPLICAS))
    if problems:
        raise InvalidInputError(*problems)


def allowed_images() -> list[str]:
    """Return the patterns of images that a node may run."""
    return list(settings.ZENITH_ALLOWED_IMAGES)


def label_problems(labels: Mapping[str, Any], pointer: str) -> Iterator[Problem]:
    """Yield what is wrong with labels of a host, or those that a node asks for."""
    if len(labels) > MAX_LABELS:
        yield Problem(pointer, f"at most {MAX_LABELS}")
    for name, value in labels.items():
        here = f"{pointer}/{escape(name)}"
        if not LABEL.fullmatch(name):
            yield Problem(here, "a label's name is 1 to 63 letters, digits, '.', '_', '/' or '-', a letter or digit at both ends")
        if not isinstance(value, str) or len(value) > 63 or not value.isprintable():
            yield Problem(here, "a label's value is text of at most 63 printable characters")


def region_problems(region: str) -> Iterator[Problem]:
    """Yield what is wrong with a region's name; empty means none."""
    if region and not REGION.fullmatch(region):
        yield Problem("/region", "must be 1 to 63 letters, digits, '.', '_' or '-', a letter or digit at both ends")


def _problems(asked: Deployment) -> Iterator[Problem]:
    if asked.name and not (NAME.fullmatch(asked.name) and len(asked.name) <= MAX_NAME):
        yield Problem("/name", f"must be 1 to {MAX_NAME} small letters, digits or '-', a letter or digit at both ends")
    yield from _range("/replicas", asked.replicas, 1, MAX_REPLICAS)
    yield from _choice("/kind", asked.kind, GroupKind.values)
    yield from _image_problems(asked.image)
    yield from _queue_problems(asked.queues)
    yield from _range("/concurrency", asked.concurrency, 1, MAX_CONCURRENCY)
    yield from _range("/memory_mb", asked.memory_mb, MIN_MEMORY_MB, MAX_MEMORY_MB)
    yield from _range("/cpus", asked.cpus, MIN_CPUS, MAX_CPUS)
    yield from _variable_problems("/environment", asked.environment)
    yield from _variable_problems("/secrets", asked.secrets)
    for name in sorted(asked.environment.keys() & asked.secrets.keys()):
        yield Problem(f"/secrets/{escape(name)}", "stands in `environment` as well; it must stand in one of them")
    yield from _choice("/restart_policy", asked.restart_policy, RestartPolicy.values)
    yield from region_problems(asked.region)
    yield from label_problems(asked.labels, "/labels")


def _image_problems(image: str) -> Iterator[Problem]:
    if len(image) > 255 or not IMAGE.fullmatch(image):
        yield Problem("/image", "must be the name of an image, such as registry.example.com/zenith:1.4")
    elif not images.allows(allowed_images(), image):
        yield Problem("/image", f"{image!r} is not allowed; ZENITH_ALLOWED_IMAGES allows: {', '.join(allowed_images())}")


def _queue_problems(queues: tuple[str, ...]) -> Iterator[Problem]:
    if not 1 <= len(queues) <= MAX_QUEUES:
        yield Problem("/queues", f"must be 1 to {MAX_QUEUES} names")
    for index, queue in enumerate(queues):
        if not QUEUE.fullmatch(queue):
            yield Problem(f"/queues/{index}", "must be 1 to 100 printable ASCII characters, neither comma nor space")
        elif reason := why_reserved(queue):
            yield Problem(f"/queues/{index}", reason)
        elif queue in queues[:index]:
            yield Problem(f"/queues/{index}", f"{queue!r} is named twice")


def _variable_problems(pointer: str, variables: Mapping[str, Any]) -> Iterator[Problem]:
    if len(variables) > MAX_VARIABLES:
        yield Problem(pointer, f"at most {MAX_VARIABLES} variables")
    for name, value in variables.items():
        here = f"{pointer}/{escape(name)}"
        if not VARIABLE.fullmatch(name):
            yield Problem(here, "a variable's name is letters, digits and '_', and begins with no digit")
        elif reason := why_refused(name):
            yield Problem(here, reason)
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            yield Problem(here, f"must be text of at most {MAX_VALUE:,} characters")
        elif "\x00" in value:
            yield Problem(here, "NUL characters cannot be passed on")
        elif value == MASK:
            yield Problem(here, f"{MASK!r} is shown in place of a secret: send the secret itself")


def _range(pointer: str, value: float, lowest: float, highest: float) -> Iterator[Problem]:
    if not lowest <= value <= highest:
        yield Problem(pointer, f"must lie between {lowest:,} and {highest:,}")


def _choice(pointer: str, value: str, choices: list[Any]) -> Iterator[Problem]:
    if value not in choices:
        yield Problem(pointer, f"must be one of: {', '.join(choices)}")
