"""Checks that the web port is free, and waits until everything behind it is up."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable

from zenith_site.launch.supervisor import StartError

# Addresses that stand for all of the machine's, and the one that a client connects to instead.
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (read, not bound)
ASK_SECONDS = 2.0


def require_free_port(host: str, port: int) -> None:
    """Bind the address briefly, before anything is started.

    Raises:
        StartError: if it is in use, may not be used or is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror:
        raise StartError(
            f"ZENITH_HOST={host!r} is not accepted: it takes an address of this machine, such as 127.0.0.1."
        ) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # bind alone succeeds even if a listener shares the port on another address.
            probe.listen(1)
        except OSError as error:
            raise StartError(
                f"Port {port} on {host} cannot be used ({error.strerror}): stop what runs there, "
                "or set ZENITH_PORT (or --port) to another."
            ) from None


def answers_elsewhere(host: str, port: int) -> bool:
    """Whether another program than Zenith listens there."""
    place = ANY_ADDRESS.get(host, host)
    try:
        socket.create_connection((place, port), timeout=ASK_SECONDS).close()
    except OSError:
        return False
    return "redis_connected" not in _ask(place, port)


def url_of(host: str, port: int) -> str:
    """Return the URL for a browser on this machine."""
    name = ANY_ADDRESS.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def await_health(host: str, port: int, *, workers: int, ready: Callable[[], None], slow: Callable[[str], None]) -> None:
    """Poll /health until everything is up; runs in a thread of its own.

    Arguments:
        workers: how many workers must be online.
        ready: called once when everything is up.
        slow: called every 30 seconds with what is missing.
    """
    warned = time.monotonic()
    while True:
        missing = _missing(_ask(ANY_ADDRESS.get(host, host), port), workers)
        if not missing:
            ready()
            return
        if time.monotonic() - warned > 30:
            warned = time.monotonic()
            slow(missing)
        time.sleep(0.2)


def _ask(host: str, port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Host": "localhost"})
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def _missing(health: dict[str, object], workers: int) -> str:
    if not health:
        return "the web process does not answer"
    if health.get("status") != "active":
        return f"/health says {json.dumps(health)}"
    reported = health.get("workers")
    if not isinstance(reported, int) or reported < workers:
        return "no worker has reported"
    return ""
