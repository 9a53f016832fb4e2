"""An engine's containers: create, start, watch and stop them."""

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

#: Seconds without data from the registry after which a pull is aborted.
PULL_SILENCE: Final = 120
_FRAME: Final = struct.Struct(">BxxxL")
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class Engine:
    """The containers of one engine. Every method raises EngineError, and times out after TIMEOUT unless stated otherwise."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def info(self) -> EngineInfo:
        """Return the engine's information about itself and its machine."""
        with self.connection.client() as client:
            return engine_info(client.info())

    def ping(self) -> None:
        """Check that the engine answers."""
        with self.connection.client() as client:
            client.ping()

    def image_id(self, image: str) -> str | None:
        """Return the id of an image; None if the engine does not have it."""
        try:
            with self.connection.client() as client:
                return str(client.inspect_image(image)["Id"])
        except NotThereError:
            return None

    def pull(self, image: str) -> None:
        """Pull an image from its registry; takes as long as the registry keeps sending."""
        with self.connection.client() as client:
            repository, tag = docker.utils.parse_repository_tag(image)
            parameters = {"fromImage": repository, "tag": tag or "latest"}
            response = client._post(client._url("/images/create"), params=parameters, stream=True, timeout=PULL_SILENCE)
            client._raise_for_status(response)
            for progress in client._stream_helper(response, decode=True):
                if "error" in progress:
                    raise EngineRefusedError(str(progress["error"]))

    def find(self, name: str) -> ContainerState | None:
        """Return a container by name or id; None if it does not exist."""
        try:
            with self.connection.client() as client:
                return container_state(client.inspect_container(name))
        except NotThereError:
            return None

    def owned(self, label: str) -> list[OwnedContainer]:
        """Return all containers with a label, given as `name=value`."""
        with self.connection.client() as client:
            return [owned_container(row) for row in client.containers(all=True, filters={"label": [label]})]

    def running(self) -> list[OwnedContainer]:
        """Return all running containers, whoever created them."""
        with self.connection.client() as client:
            return [owned_container(row) for row in client.containers()]

    def create(self, spec: ContainerSpec) -> str:
        """Create a container and return its id. Raises NameTakenError if the name is in use."""
        with self.connection.client() as client:
            answer = client.create_container(
                spec.image, command=list(spec.command), name=spec.name, labels=dict(spec.labels),
                environment=dict(spec.environment), host_config=_host_config(client, spec),
                # The image's health check is for a web process; a worker sends heartbeats instead.
                healthcheck={"test": ["NONE"]},
            )  # fmt: skip
            return str(answer["Id"])

    def write_secrets(self, container: str, files: Iterable[tuple[str, str]]) -> None:
        """Write a container's secrets; it need not be running."""
        with self.connection.client() as client:
            client.put_archive(container, SECRETS_DIRECTORY, _archive(files))

    def start(self, container: str) -> None:
        """Start a container; one that is running is not changed."""
        with self.connection.client() as client:
            client.start(container)

    def stop(self, container: str, seconds: int) -> None:
        """Stop a container, and kill it after `seconds`; a missing or stopped container is ignored."""
        self._if_exists(lambda client: client.stop(container, timeout=seconds))

    def remove(self, container: str) -> None:
        """Remove a container, running or not, and the volume of its secrets."""
        # A conflict means that the removal is already in progress.
        with suppress(NameTakenError):
            self._if_exists(lambda client: client.remove_container(container, v=True, force=True))

    def tail(self, container: str, lines: int) -> list[LogLine]:
        """Return the last lines of a container's log."""
        return list(self._log(container, lines=lines, since="", follow=False))

    def follow(self, container: str, lines: int, since: str, opened: Callable[[Callable[[], None]], None]) -> Iterator[LogLine]:
        """Yield a container's existing and new log lines until it exits or the stream is closed.

        Arguments:
            lines: how many existing lines to yield at most.
            since: only lines after this time of a LogLine; empty for all.
            opened: called with a function that closes the stream and may be called from any thread.
        """
        return self._log(container, lines=lines, since=since, follow=True, opened=opened)

    def events(self, opened: Callable[[Callable[[], None]], None]) -> Iterator[EngineEvent]:
        """Yield the engine's events from now on until the stream ends or is closed; `opened` as in `follow`."""
        with self.connection.client() as client:
            stream = client.events(decode=True)
            opened(closing(stream._response))
            for event in stream:
                yield engine_event(event)

    def stats(self, container: str) -> ContainerStats | None:
        """Return a container's resource counters; None if it is not running."""
        try:
            with self.connection.client() as client:
                return container_stats(client.stats(container, stream=False, one_shot=_one_shot(client)))
        except NotThereError:
            return None

    def _if_exists(self, act: Callable[[Any], object]) -> None:
        with suppress(NotThereError), self.connection.client() as client:
            act(client)

    def _log(
        self, container: str, *, lines: int, since: str, follow: bool, opened: Callable[[Callable[[], None]], None] | None = None
    ) -> Iterator[LogLine]:
        # docker's own reader drops whether a line came from stdout or stderr.
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
    """Return True if the engine can skip its wait for a second reading, which we do not need: we compare readings ourselves."""
    return True if docker.utils.version_gte(client.api_version, "1.41") else None


def _host_config(client: Any, spec: ContainerSpec) -> Any:
    return client.create_host_config(
        # Reaps orphans of the pool, and forwards a SIGTERM that arrives before Celery handles it.
        init=True,
        read_only=True,
        tmpfs={"/tmp": f"rw,nosuid,nodev,size={TMP_BYTES}"},  # noqa: S108 (in the container, whose own it is)
        # An anonymous volume is removed with its container. Files in a volume do not show in `docker inspect`.
        mounts=[Mount(target=SECRETS_DIRECTORY, source=None, type="volume")],
        security_opt=["no-new-privileges:true"],
        cap_drop=["ALL"],
        privileged=False,
        mem_limit=spec.memory_bytes,
        # Equal to the memory limit: no swap.
        memswap_limit=spec.memory_bytes,
        nano_cpus=int(spec.cpus * 1e9),
        pids_limit=spec.processes,
        # The agent restarts containers: docs/decisions/0010.
        restart_policy={"Name": "no"},
        log_config=LogConfig(type="json-file", config={"max-size": LOG_SIZE, "max-file": LOG_FILES}),
        network_mode=spec.network,
    )


def _archive(files: Iterable[tuple[str, str]]) -> bytes:
    """Return a tar archive of small files that every user in the container may read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            body = content.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), 0o444
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def _lines(raw: Any) -> Iterator[LogLine]:
    """Yield the lines of a log in Docker's frame format: a header with stream and length, then that many bytes."""
    partial_lines = dict.fromkeys(_STREAMS.values(), b"")
    while len(header := raw.read(_FRAME.size)) == _FRAME.size:
        number, length = _FRAME.unpack(header)
        stream = _STREAMS.get(number, "stdout")
        *whole, partial_lines[stream] = (partial_lines[stream] + raw.read(length)).split(b"\n")
        for line in whole:
            at, _, text = line.decode(errors="replace").partition(" ")
            yield LogLine(at, stream, text.rstrip("\r"))


def _unix(at: str) -> str:
    """Return the time of a LogLine in the format of `since`: Unix seconds with nanoseconds."""
    time = moment(at)
    return f"{int(time.timestamp())}.{at.partition('.')[2].rstrip('Z')}" if time else "0"
