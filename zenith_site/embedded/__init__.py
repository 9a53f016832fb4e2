"""A real PostgreSQL and a real Redis, run from Python packages where none is configured.

The life of an embedded server: `addresses()` says where it is or will be; `EmbeddedServers.start()` creates its data on the
first start, clears what a killed run left, starts it on loopback and waits until it answers; `stop()` shuts it down cleanly.
"""

from zenith_site.embedded.errors import EmbeddedError
from zenith_site.embedded.lock import DataDirectoryLock
from zenith_site.embedded.servers import EmbeddedServers
from zenith_site.embedded.state import Addresses, addresses, ensure_secret, read_secret

__all__ = ["Addresses", "DataDirectoryLock", "EmbeddedError", "EmbeddedServers", "addresses", "ensure_secret", "read_secret"]
