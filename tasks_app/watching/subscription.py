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
        self._connection: Any = None
        channel.handlers["LISTEN"] = self.read

    def read(self) -> bool:
        """Read what has arrived. Raises what redis-py raises for a lost connection."""
        client = self._channel.subclient
        connection = client.connection
        if connection is not self._connection:
            self._connection = connection
            _log_nothing(connection)
        # This one also asks, now and then, whether Redis is still there.
        self._handle(client, client.parse_response())
        for _ in range(AT_ONCE - 1):
            self.has_more = connection.can_read(timeout=0)
            if not self.has_more:
                return True
            self._handle(client, connection.read_response(disconnect_on_error=False, push_request=True, timeout=None))
        self.has_more = connection.can_read(timeout=0)
        return True

    def _handle(self, client: Any, response: Any) -> None:
        if isinstance(response, list) and len(response) == 4 and response[0] == b"pmessage":
            self._take(response[3])
        elif client.is_health_check_response(response):
            client.health_check_response_counter -= 1
        # All others confirm a subscription.


def _log_nothing(connection: Any) -> None:
    """Keep redis-py from making a text of each message for a log that nobody reads; not every parser does."""
    set_handler = getattr(connection._parser, "set_pubsub_push_handler", None)
    if set_handler is not None:
        set_handler(_unchanged)


def _unchanged(response: Any) -> Any:
    return response


def subscription_of(channel: Any, take: Callable[[bytes], None]) -> Subscription | None:
    """Return the subscription of a channel, which `take` hears from now on; None for a broker that is not Redis."""
    return Subscription(channel, take) if isinstance(channel, transport.Channel) else None
