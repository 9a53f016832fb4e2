"""A connection to one engine: by socket, TCP, TLS or ssh://, with time limits, and its errors as ours."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import docker
import requests
import urllib3

from infra_app.errors import EngineError, EngineRefusedError, EngineUnreachableError, NameTakenError, NotThereError

#: Seconds for an answer, unless a call says otherwise.
TIMEOUT: Final = 20
#: Connections kept open: as many as the agent asks at once.
POOL: Final = 24
_CONFLICT: Final = 409


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of the certificates for an engine that asks for some."""

    ca: str
    certificate: str
    key: str


class Connection:
    """Speaks to one engine; made at the first question, and anew after it broke.

    Arguments:
        url: `unix://…`, `tcp://host:port` or `ssh://user@host`, for which the system's ssh is run.
        tls: for an engine that checks certificates.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        self.url = url
        self._tls = tls
        self._client: Any = None
        self._lock = threading.Lock()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield docker's low-level client; what it raises leaves as an EngineError."""
        try:
            yield self._connected()
        except docker.errors.APIError as error:
            raise _refusal(error) from error
        except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise EngineUnreachableError(f"The Docker engine at {self.url} does not answer: {_innermost(error)}") from error

    def close(self) -> None:
        """Let go of what is open."""
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
                # Else REQUESTS_CA_BUNDLE counts for more than the engine's own authority, and a proxy of the web is asked for it.
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
    """Return what ends an answer that goes on and on, from any thread."""

    def close() -> None:
        # Over ssh it is the output of a process.
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
    """Return the reason under the wrappings of requests and urllib3."""
    seen = {id(error)}
    while True:
        inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None or id(inner) in seen:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        seen.add(id(inner))
        error = inner
