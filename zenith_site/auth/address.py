"""The IP address of a request's client, for the audit log and the login's throttle."""

from ipaddress import IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest | None) -> str | None:
    """Return the IP address of the client; None if there is none, as over a Unix socket.

    Only the last ZENITH_TRUSTED_PROXIES entries of `X-Forwarded-For` count: each proxy appends the address that called it, so
    the client can make up whatever stands further left.
    """
    return (
        None if request is None else address_of(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))
    )


def address_of(peer: str, forwarded: str) -> str | None:
    """Return the client's address from the peer's address and the value of `X-Forwarded-For`."""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    proxies = settings.ZENITH_TRUSTED_PROXIES
    address = hops[-min(proxies, len(hops))] if proxies and hops else peer
    try:
        # PostgreSQL takes no zone, which has a meaning on its own machine only (fe80::1%eth0).
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return str((parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None) or parsed)
