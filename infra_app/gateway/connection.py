"""A connection to one engine by Unix socket, TCP, TLS or SSH, with timeouts and translated errors."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import docker
import requests
import urllib3

from infra_app.errors import EngineError, EngineRefusedError, EngineUnreachableError, NameTakenError, NotThereError

#: Timeout of a call in seconds, unless the call sets another.
TIMEOUT: Final = 20
#: Connections kept open, as many as the agent uses at the same time.
POOL: Final = 24
_CONFLICT: Final = 409


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of the certificates for an engine that requires client certificates."""

    ca: str
    certificate: str
    key: str


class Connection:
    """A connection to one engine, opened on first use and reopened after it broke.

    Arguments:
        url: `unix://…`, `tcp://host:port`, or `ssh://user@host`, which runs the system's ssh.
        tls: client certificates, if the engine requires them.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        self.url = url
        self._tls = tls
        self._client: Any = None
        self._lock = threading.Lock()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield docker's low-level client, and translate its exceptions to EngineError."""
        try:
            yield self._connected()
        except docker.errors.APIError as error:
            raise _refusal(error) from error
        except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise EngineUnreachableError(f"The Docker Engine at {self.url} does not answer: {_innermost(error)}") from error

    def close(self) -> None:
        """Close the open connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                client = docker.APIClient(
                    base_url=self.url, version=docker.constants.MINIMUM_DOCKER_API_VERSION, timeout=TIMEOUT,
                    tls=self._tls_config(), use_ssh_client=True, max_pool_size=POOL,
                )  # fmt: skip
                # Else REQUESTS_CA_BUNDLE would override the engine's own CA, and requests would go through a web proxy.
                client.trust_env = False
                client._version = client._retrieve_server_version()
                self._client = client
            return self._client

    def _tls_config(self) -> Any:
        if self._tls is None:
            return False
        pair = (self._tls.certificate, self._tls.key)
        return docker.tls.TLSConfig(client_cert=pair, ca_cert=self._tls.ca, verify=True)


def closing(response: Any) -> Callable[[], None]:
    """Return a function that ends a streaming response; it may be called from any thread."""

    def close() -> None:
        # Over SSH, the response is the output of a process.
        ssh = getattr(response.raw._fp.fp, "channel", None)
        if ssh is not None:
            ssh.proc.kill()
            return
        with suppress(OSError, AttributeError):
            docker.types.CancellableStream(iter(()), response).close()

    return close


def _refusal(error: Any) -> EngineError:
    reason = " ".join(str(error.explanation or error).split())
    if isinstance(error, docker.errors.NotFound):
        return NotThereError(reason)
    if error.status_code == _CONFLICT:
        return NameTakenError(reason)
    return EngineRefusedError(reason)


def _innermost(error: BaseException) -> str:
    """Return the reason of the innermost exception that requests and urllib3 have wrapped."""
    visited = {id(error)}
    while True:
        inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None or id(inner) in visited:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        visited.add(id(inner))
        error = inner
