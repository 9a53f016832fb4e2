"""A real PostgreSQL and a real Redis from Python packages, for when none is configured.

The life of an embedded server: `addresses()` returns its address, before the first start too; `EmbeddedServers.start()` creates
its data on the first start, ends what a killed run left, starts it on loopback and waits until it answers; `stop()` shuts it down
cleanly.
"""

from zenith_site.embedded.errors import EmbeddedError
from zenith_site.embedded.lock import DataDirectoryLock
from zenith_site.embedded.servers import EmbeddedServers
from zenith_site.embedded.state import Addresses, addresses, ensure_secret, read_secret

__all__ = ["Addresses", "DataDirectoryLock", "EmbeddedError", "EmbeddedServers", "addresses", "ensure_secret", "read_secret"]
