"""The guards of an application for pages: what each one does, in a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from zenith_worker.wire.guard_names import CLAIMS, CLAIMS_CLOSED, NAMES, RECOVERY, RETRIES, LiveGuards

_CLAIMS_DO: Final = (
    "Only one delivery of a task runs at a time, cancelled tasks do not start, and one that killed its process three times fails."
)
_DO: Final = {
    CLAIMS: f"{_CLAIMS_DO} While Redis is away, tasks run without that.",
    CLAIMS_CLOSED: f"{_CLAIMS_DO} While Redis is away, tasks wait for it.",
    RECOVERY: "What a dead worker had not acknowledged goes back to its queue within half a minute.",
    RETRIES: "A task without retry rules of its own is retried with exponential back-off, as often as its max_retries says.",
}


@dataclass(frozen=True, slots=True)
class GuardLine:
    """A guard.

    Attributes:
        does: what it does, in a sentence.
        is_partial: whether only some workers have it.
    """

    name: str
    does: str
    is_partial: bool = False


def lines(guards: LiveGuards) -> list[GuardLine]:
    """Return what each guard of an application's workers does."""
    return [GuardLine(name, _DO[name], name in guards.partial) for name in NAMES if name in guards.shared + guards.partial]


def lines_of(names: Iterable[str]) -> list[GuardLine]:
    """Return what each of these guards does, without names that this release does not know."""
    told = set(names)
    return [GuardLine(name, _DO[name]) for name in NAMES if name in told]
