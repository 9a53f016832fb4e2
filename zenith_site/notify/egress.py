"""Where a message to an address that a page entered may go: to the internet, and to hosts that the operator has named.

An administrator of Zenith need not be one of the network that Zenith runs in. Without this, a webhook on a page could reach what
only the server reaches: its own loopback, a cloud's metadata, a neighbour without a password.

1. The host's name is resolved once, and the connection goes to an address that was checked, so a name cannot change its mind.
2. One address that is refused refuses the host.
3. Hosts in ZENITH_NOTIFY_HOSTS may have any address, and so may what the environment itself sets up as a channel.
"""

import http.client
import socket
import urllib.request
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from django.conf import settings
from django.http.request import validate_host

#: IPv6 prefixes that carry an IPv4 address: NAT64 (RFC 6052), 6to4 (RFC 3056) and Teredo (RFC 4380).
_CARRIERS: Final = ("64:ff9b:", "2002:", "2001:0:", "2001::")


class RefusedAddressError(OSError):
    """A host is in a network that no page may reach. The text does not say which address it has."""

    def __init__(self) -> None:
        super().__init__("the host is inside the operator's network; its name must be in ZENITH_NOTIFY_HOSTS")


def is_refused(address: str) -> bool:
    """Whether an IP address is no public one."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_refused(str(parsed.ipv4_mapped))
        if str(parsed).startswith(_CARRIERS):
            return True
    return not parsed.is_global or parsed.is_multicast


def is_allowed_host(host: str) -> bool:
    """Whether the operator has named this host, or a domain above it."""
    return validate_host(f"[{host}]" if ":" in host else host.lower(), settings.ZENITH_NOTIFY_HOSTS)


def connect(address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
    """Connect like `socket.create_connection`, but to no refused address. Raises RefusedAddressError or OSError."""
    host, port = address
    if is_allowed_host(host):
        return socket.create_connection(address, timeout, source_address)
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if any(map(is_refused, found)):
        raise RefusedAddressError
    for number, one in enumerate(found):
        try:
            return socket.create_connection((one, port), timeout, source_address)
        except OSError:
            if number == len(found) - 1:
                raise
    raise OSError("the host has no address")


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = connect


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = connect


class GuardedHTTP(urllib.request.HTTPHandler):
    """Opens http:// through `connect`."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the URL."""
        return self.do_open(_Connection, req)


class GuardedHTTPS(urllib.request.HTTPSHandler):
    """Opens https:// through `connect`; certificates are checked against the host's name."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the URL."""
        return self.do_open(_SecureConnection, req)
