"""One engine's containers: made, started, watched, stopped."""

import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import docker
from docker.types import LogConfig, Mount

from infra_app.errors import EngineRefusedError, NameTakenError, NotThereError
from infra_app.gateway.connection import TIMEOUT, Connection, closing
from infra_app.gateway.spec import LOG_FILES, LOG_SIZE, SECRETS_DIRECTORY, TMP_BYTES, ContainerSpec
from infra_app.gateway.values import (
    ContainerState,
    ContainerStats,
    EngineEvent,
    EngineInfo,
    LogLine,
    OwnedContainer,
    container_state,
    container_stats,
    engine_event,
    engine_info,
    moment,
    owned_container,
)

#: Seconds without a word from the registry after which a pull is given up.
PULL_SILENCE: Final = 120
_FRAME: Final = struct.Struct(">BxxxL")
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class Engine:
    """The containers of one engine. Every method raises EngineError, and waits TIMEOUT seconds at most unless it says more."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def info(self) -> EngineInfo:
        """Return what the engine says of itself."""
        with self.connection.client() as client:
            return engine_info(client.info())

    def ping(self) -> None:
        """Ask whether the engine is there."""
        with self.connection.client() as client:
            client.ping()

    def image_id(self, image: str) -> str | None:
        """Return the id of an image that is there; None where it is not."""
        try:
            with self.connection.client() as client:
                return str(client.inspect_image(image)["Id"])
        except NotThereError:
            return None

    def pull(self, image: str) -> None:
        """Fetch an image from its registry; takes as long as that keeps sending."""
        with self.connection.client() as client:
            repository, tag = docker.utils.parse_repository_tag(image)
            parameters = {"fromImage": repository, "tag": tag or "latest"}
            response = client._post(client._url("/images/create"), params=parameters, stream=True, timeout=PULL_SILENCE)
            client._raise_for_status(response)
            for progress in client._stream_helper(response, decode=True):
                if "error" in progress:
                    raise EngineRefusedError(str(progress["error"]))

    def find(self, name: str) -> ContainerState | None:
        """Return a container by name or id; None where there is none."""
        try:
            with self.connection.client() as client:
                return container_state(client.inspect_container(name))
        except NotThereError:
            return None

    def owned(self, label: str) -> list[OwnedContainer]:
        """Return all containers that carry a label, such as `name=value`."""
        with self.connection.client() as client:
            return [owned_container(row) for row in client.containers(all=True, filters={"label": [label]})]

    def running(self) -> list[OwnedContainer]:
        """Return all containers that run, whoever made them."""
        with self.connection.client() as client:
            return [owned_container(row) for row in client.containers()]

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, and return its id. Raises NameTakenError where one of this name exists."""
        with self.connection.client() as client:
            answer = client.create_container(
                spec.image, command=list(spec.command), name=spec.name, labels=dict(spec.labels),
                environment=dict(spec.environment), host_config=_host_config(client, spec),
                # The image's own looks for a web process; a worker tells of itself by its heartbeat.
                healthcheck={"test": ["NONE"]},
            )  # fmt: skip
            return str(answer["Id"])

    def hand_over(self, container: str, files: Iterable[tuple[str, str]]) -> None:
        """Write a container's secrets, running or not."""
        with self.connection.client() as client:
            client.put_archive(container, SECRETS_DIRECTORY, _archive(files))

    def start(self, container: str) -> None:
        """Start a container; one that runs goes on."""
        with self.connection.client() as client:
            client.start(container)

    def stop(self, container: str, seconds: int) -> None:
        """Ask a container to end, and end it after so many seconds; one that is gone or has ended is left alone."""
        self._unless_gone(lambda client: client.stop(container, timeout=seconds))

    def remove(self, container: str) -> None:
        """Remove a container, running or not, with the volume of its secrets."""
        # A conflict means that it is being removed already.
        with suppress(NameTakenError):
            self._unless_gone(lambda client: client.remove_container(container, v=True, force=True))

    def tail(self, container: str, lines: int) -> list[LogLine]:
        """Return the last lines that a container wrote."""
        return list(self._log(container, lines=lines, since="", follow=False))

    def follow(self, container: str, lines: int, since: str, opened: Callable[[Callable[[], None]], None]) -> Iterator[LogLine]:
        """Yield what a container wrote and writes, until it ends or the stream is closed.

        Arguments:
            lines: how many of what it has written already.
            since: only what is later than this time of a LogLine; empty for all.
            opened: called with a function that ends the stream, from any thread.
        """
        return self._log(container, lines=lines, since=since, follow=True, opened=opened)

    def events(self, opened: Callable[[Callable[[], None]], None]) -> Iterator[EngineEvent]:
        """Yield what happens on the engine from now on, until it goes away or the stream is closed; `opened` as in `follow`."""
        with self.connection.client() as client:
            stream = client.events(decode=True)
            opened(closing(stream._response))
            for event in stream:
                yield engine_event(event)

    def stats(self, container: str) -> ContainerStats | None:
        """Return what a container has used; None where it does not run."""
        try:
            with self.connection.client() as client:
                return container_stats(client.stats(container, stream=False, one_shot=_one_shot(client)))
        except NotThereError:
            return None

    def _unless_gone(self, act: Callable[[Any], object]) -> None:
        with suppress(NotThereError), self.connection.client() as client:
            act(client)

    def _log(
        self, container: str, *, lines: int, since: str, follow: bool, opened: Callable[[Callable[[], None]], None] | None = None
    ) -> Iterator[LogLine]:
        # docker's own reader drops which of the two streams a line came from.
        parameters: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow), "tail": lines}
        if since:
            parameters["since"] = _unix(since)
        with self.connection.client() as client:
            url = client._url("/containers/{0}/logs", container)
            response = client._get(url, params=parameters, stream=True, timeout=None if follow else TIMEOUT)
            client._raise_for_status(response)
            if opened is not None:
                opened(closing(response))
            for line in _lines(response.raw):
                if line.at > since:
                    yield line


def _one_shot(client: Any) -> bool | None:
    """Whether the engine can answer without waiting a second for another reading, which ours are the difference of anyway."""
    return True if docker.utils.version_gte(client.api_version, "1.41") else None


def _host_config(client: Any, spec: ContainerSpec) -> Any:
    return client.create_host_config(
        # Reaps what the pool leaves behind, and passes on a SIGTERM that comes before Celery listens for one.
        init=True,
        read_only=True,
        tmpfs={"/tmp": f"rw,nosuid,nodev,size={TMP_BYTES}"},  # noqa: S108 (in the container, whose own it is)
        # Without a name it goes with its container. A file in a volume does not show in `docker inspect`.
        mounts=[Mount(target=SECRETS_DIRECTORY, source=None, type="volume")],
        security_opt=["no-new-privileges:true"],
        cap_drop=["ALL"],
        privileged=False,
        mem_limit=spec.memory_bytes,
        # As much as the memory alone: no swap.
        memswap_limit=spec.memory_bytes,
        nano_cpus=int(spec.cpus * 1e9),
        pids_limit=spec.processes,
        # The agent starts it again: docs/decisions/0010.
        restart_policy={"Name": "no"},
        log_config=LogConfig(type="json-file", config={"max-size": LOG_SIZE, "max-file": LOG_FILES}),
        network_mode=spec.network,
    )


def _archive(files: Iterable[tuple[str, str]]) -> bytes:
    """Return a tar of small files that everybody in the container may read, and nobody else has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            body = content.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), 0o444
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def _lines(raw: Any) -> Iterator[LogLine]:
    """Yield the lines of a log in Docker's frames: a header with stream and length, then that many bytes."""
    rests = dict.fromkeys(_STREAMS.values(), b"")
    while len(header := raw.read(_FRAME.size)) == _FRAME.size:
        number, length = _FRAME.unpack(header)
        stream = _STREAMS.get(number, "stdout")
        *whole, rests[stream] = (rests[stream] + raw.read(length)).split(b"\n")
        for line in whole:
            at, _, text = line.decode(errors="replace").partition(" ")
            yield LogLine(at, stream, text.rstrip("\r"))


def _unix(at: str) -> str:
    """Return a time of a LogLine as `since` takes it: seconds and nanoseconds since 1970."""
    time = moment(at)
    return f"{int(time.timestamp())}.{at.partition('.')[2].rstrip('Z')}" if time else "0"
