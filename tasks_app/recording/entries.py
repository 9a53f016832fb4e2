"""The events of a stream's entry, each with the application in whose stream the entry lies."""

from typing import Final

from zenith_worker.wire.events import Event, UnreadableEntryError, decode, salvage
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry

#: Statuses of tasks that Zenith itself is about to send, which it never does for another application.
_ZENITHS: Final = frozenset({Status.PENDING, Status.SCHEDULED})


def events_of(entry: Entry) -> list[Event]:
    """Return the events of an entry. Raises UnreadableEntryError."""
    events = _owned(decode(entry.raw), entry)
    if entry.application == NATIVE:
        return events
    if refused := next((event.status for event in events if not _may_report(event)), None):
        raise UnreadableEntryError(f"an application other than Zenith's own cannot report {refused}")
    return events


def salvaged(entry: Entry) -> list[Event]:
    """Return what is left of the events of an unreadable entry. Never raises."""
    return [event for event in _owned(salvage(entry.raw), entry) if _may_report(event)]


def _owned(events: list[Event], entry: Entry) -> list[Event]:
    for event in events if entry.application != NATIVE else ():
        event.application = entry.application
    return events


def _may_report(event: Event) -> bool:
    return event.application == NATIVE or event.status not in _ZENITHS
