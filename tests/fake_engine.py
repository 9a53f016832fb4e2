"""A thin stand-in for a Docker engine: containers as a dictionary, and errors where a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from infra_app.errors import EngineError, NameTakenError
from infra_app.gateway import ContainerSpec, ContainerState, LogLine, OwnedContainer

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class FakeEngine:
    """The part of an engine that the agent's steps use.

    Attributes:
        images: images on the engine.
        pullable: images that can be pulled.
        fails: the error of each method that should fail, by method name.
        did: the names of all changes, in order.
    """

    images: set[str] = field(default_factory=set)
    pullable: set[str] = field(default_factory=set)
    fails: dict[str, EngineError] = field(default_factory=dict)
    containers: dict[str, ContainerState] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)

    def image_id(self, image: str) -> str | None:
        """Return an id if the image exists."""
        return f"sha256:{image}" if image in self.images else None

    def pull(self, image: str) -> None:
        """Pull an image if it can be pulled."""
        self._act("pull")
        if image in self.pullable:
            self.images.add(image)

    def find(self, name: str) -> ContainerState | None:
        """Return a container by name or id."""
        self._fail("find")
        return next((container for container in self.containers.values() if name in {container.name, container.id}), None)

    def owned(self, label: str) -> list[OwnedContainer]:
        """Return the containers with a label."""
        name, _, value = label.partition("=")
        return [
            OwnedContainer(container.id, container.name, container.labels, container.status)
            for container in self.containers.values()
            if container.labels.get(name) == value
        ]

    def create(self, spec: ContainerSpec) -> str:
        """Create a container."""
        if spec.name in self.containers:
            raise NameTakenError("The name is in use.")
        self._act("create")
        id_ = f"c{len(self.did)}"
        self.specs[spec.name] = spec
        self.containers[spec.name] = ContainerState(
            id_, spec.name, f"sha256:{spec.image}", spec.labels, "created", 0, False, "", None, None
        )
        return id_

    def write_secrets(self, container: str, files: Iterable[tuple[str, str]]) -> None:
        """Store secrets."""
        self._act("write secrets")
        self.files[container] = dict(files)

    def start(self, container: str) -> None:
        """Start a container."""
        self._act("start")
        self.change(container, status="running", started_at=STARTED, finished_at=None)

    def stop(self, container: str, seconds: int) -> None:
        """Stop a container."""
        self._act("stop")
        self.ends(container, 0)

    def remove(self, container: str) -> None:
        """Remove a container."""
        self._act("remove")
        self.containers = {name: state for name, state in self.containers.items() if container not in {state.id, name}}

    def tail(self, container: str, lines: int) -> list[LogLine]:
        """Return the last lines."""
        return [LogLine("2026-01-01T12:00:00.000000001Z", "stderr", "password=hunter2 last words")]

    def follow(self, container: str, lines: int, since: str, opened: Callable[[Callable[[], None]], None]) -> Iterator[LogLine]:
        """Yield the same."""
        opened(lambda: None)
        yield from (line for line in self.tail(container, lines) if line.at > since)

    def ends(self, container: str, code: int, *, oom_killed: bool = False, after: float = 1.0) -> None:
        """Let a container exit on its own after `after` seconds."""
        ended = STARTED.fromtimestamp(STARTED.timestamp() + after, tz=UTC)
        self.change(container, status="exited", exit_code=code, oom_killed=oom_killed, finished_at=ended)

    def change(self, container: str, **values: object) -> None:
        """Change the state of a container."""
        self.containers = {
            name: replace(state, **values) if container in {state.id, name} else state  # type: ignore[arg-type]
            for name, state in self.containers.items()
        }

    def _act(self, what: str) -> None:
        self._fail(what)
        self.did.append(what)

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]
