"""Reads what Redis publishes to a kombu channel: the same messages as kombu would deliver, at a fraction of the cost.

kombu reads for as long as more arrives, so that nothing else could be done while a busy application tells events, and takes
several objects for each message. Here a read is bounded, and whoever reads looks whether there is more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kombu.transport import redis as transport

#: Messages that one read takes.
AT_ONCE: Final = 500


class Subscription:
    """Takes the place of kombu's reader of subscriptions on one channel.

    Attributes:
        has_more: whether messages may have arrived that no socket tells of any more; then `read` has to be called.
    """

    def __init__(self, channel: transport.Channel, take: Callable[[bytes], None]) -> None:
        self._channel, self._take = channel, take
        self.has_more = False
        channel.handlers["LISTEN"] = self.read

    def read(self) -> bool:
        """Read what has arrived. Raises what redis-py raises for a lost connection."""
        client = self._channel.subclient
        connection = client.connection
        for _ in range(AT_ONCE):
            self._handle(client.parse_response())
            self.has_more = connection.can_read(timeout=0)
            if not self.has_more:
                break
        return True

    def _handle(self, response: Any) -> None:
        # Others confirm a subscription or answer a ping.
        if isinstance(response, list) and len(response) == 4 and response[0] == b"pmessage" and response[3]:
            self._take(response[3])


def subscription_of(channel: Any, take: Callable[[bytes], None]) -> Subscription | None:
    """Return the subscription of a channel, which `take` hears from now on; None for a broker that is not Redis."""
    return Subscription(channel, take) if isinstance(channel, transport.Channel) else None
