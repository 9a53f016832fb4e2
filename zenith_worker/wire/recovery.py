"""Recovery: messages that their workers will never acknowledge go back to their queues.

This is what an engine does for Zenith's own workers (tasks_app/maintenance/reconciler.py) and the workers of another application
do for each other (zenith_worker/recovery.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from zenith_worker.wire.debounce import Debounce
from zenith_worker.wire.held_messages import HeldMessages, NotAMessageError

#: Seconds for which a message must be abandoned: if its worker is dead, and if its living worker has forgotten it.
DEATH_SETTLED_AFTER: Final = 4.0
FORGOTTEN_AFTER: Final = 10.0
#: The longest gap between two passes, in seconds; after a longer one, waiting times start again.
LATE: Final = 15.0
#: Why a message went back.
WORKER_DIED: Final = "its worker died"
WORKER_FORGOT: Final = "its worker lost its connection and forgot it"


class MessageRecovery:
    """Puts back what dead workers held.

    A pass may come just after Redis was unreachable, when all heartbeats have expired and every worker is about to send one.
    So a message is put back only if it is found abandoned in every pass for some time, and a late pass starts that time again.
    """

    def __init__(self, held: HeldMessages, clock: Callable[[], float] = time.monotonic) -> None:
        self._held = held
        self._abandoned = Debounce(LATE, clock)

    def run_once(self) -> int:
        """Put back the messages that are abandoned by now; return how many. Raises redis.RedisError."""
        owners = self._held.owners()
        dead_owners = self._held.dead(owners.values())
        abandoned = [tag for tag, _ in self._abandoned.update(self.suspects(owners, dead_owners))]
        return sum(self.recover(tag, owners[tag], dead=owners[tag] in dead_owners) for tag in abandoned)

    def suspects(self, owners: dict[str, str], dead_owners: set[str]) -> Iterator[tuple[str, float]]:
        """Yield the delivery tags of messages that are abandoned if that lasts for so many seconds."""
        for tag, owner in owners.items():
            if owner in dead_owners:
                yield tag, DEATH_SETTLED_AFTER

    def recover(self, tag: str, owner: str, *, dead: bool) -> bool:
        """Put a message back; return whether that was done. Raises redis.RedisError."""
        try:
            headers = self._held.put_back(tag, owner, unless_alive=dead)
        except NotAMessageError as error:
            self.refuse(tag, error)
            return False
        if headers is not None:
            self.note(headers, owner, dead=dead)
        return headers is not None

    def refuse(self, tag: str, error: NotAMessageError) -> None:
        """Do away with what is no message, so that it is not met again at every look."""
        raise NotImplementedError

    def note(self, headers: dict[str, Any], owner: str, *, dead: bool) -> None:
        """Note that the message with these headers went back."""
        raise NotImplementedError
