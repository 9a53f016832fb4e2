"""`python -m infra_app.gateway.bridge URL`: print the default bridge network of an engine as JSON, or null if there is none.

`manage.py up` runs this as a separate process, because importing docker would double the size of its own process.
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
    """An engine's default bridge: this machine's address on it, and the subnet of its containers."""

    address: str
    subnet: str


def default_bridge(connection: Connection) -> Bridge | None:
    """Return the engine's default bridge if its address belongs to this machine; else None.

    Nothing here can listen on the bridge of an engine on another machine, or in a virtual machine as on macOS.
    """
    try:
        with connection.client() as client:
            pools = client.inspect_network("bridge")["IPAM"]["Config"] or []
    except EngineError:
        return None
    bridges = [_bridge(pool) for pool in pools if ":" not in pool.get("Subnet", ":")]
    return next((bridge for bridge in bridges if _is_here(bridge.address)), None)


def _bridge(pool: Mapping[str, str]) -> Bridge:
    """Return a bridge from its address pool. If the engine names no gateway, it uses the first address itself."""
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
    bridge_found = default_bridge(Connection(sys.argv[1]))
    sys.stdout.write(json.dumps(bridge_found and asdict(bridge_found)) + "\n")
