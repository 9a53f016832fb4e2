"""`python -m infra_app.gateway.bridge`: prints the network that the engine here gives its containers, as JSON; null for none.

Run as a process of its own by `manage.py up`, whose small process would double in size with docker in it.
"""

import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_network

from infra_app.errors import EngineError
from infra_app.gateway.connection import Connection


@dataclass(frozen=True, slots=True)
class Bridge:
    """The default bridge: this machine's address on it, and the subnet of its containers."""

    address: str
    subnet: str


def default_bridge(connection: Connection) -> Bridge | None:
    """Return the engine's default bridge, where its address is one of this machine; None where there is none such.

    An engine elsewhere, or in a virtual machine as on macOS, has one that nothing here can listen on.
    """
    try:
        with connection.client() as client:
            pools = client.inspect_network("bridge")["IPAM"]["Config"] or []
    except EngineError:
        return None
    bridges = [_bridge(pool) for pool in pools if ":" not in pool.get("Subnet", ":")]
    return next((bridge for bridge in bridges if _is_here(bridge.address)), None)


def _bridge(pool: Mapping[str, str]) -> Bridge:
    """Return a network from its pool of addresses; an engine need not say that it took the first one itself."""
    subnet = ip_network(pool["Subnet"], strict=False)
    return Bridge(pool.get("Gateway") or str(subnet.network_address + 1), str(subnet))


def _is_here(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    found = default_bridge(Connection(sys.argv[1]))
    sys.stdout.write(json.dumps(found and asdict(found)) + "\n")
