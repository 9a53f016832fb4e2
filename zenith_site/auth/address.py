"""Where a request comes from, for the audit log and the login's throttle."""

from ipaddress import IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest | None) -> str | None:
    """Return the IP address of the client; None where there is none, as over a Unix socket.

    `X-Forwarded-For` counts only as far as ZENITH_TRUSTED_PROXIES reaches: each proxy appends whom
    it was called by, so what stands further left is whatever the client made up.
    """
    return (
        None if request is None else address_of(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))
    )


def address_of(peer: str, forwarded: str) -> str | None:
    """Return the client's address, given that of who connected and the value of `X-Forwarded-For`."""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    proxies = settings.ZENITH_TRUSTED_PROXIES
    address = hops[-min(proxies, len(hops))] if proxies and hops else peer
    try:
        # PostgreSQL takes no zone, which means something on its own machine only (fe80::1%eth0).
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return str((found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found)
