"""Folds steps of one run of a task that came together into the last of them, which carries when the others happened.

Workers that load `zenith_worker` report in the same way: most tasks are received, started and over within a moment, and one
report costs a recorder a fraction of three. What is recorded is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zenith_worker.wire.events import Event
from zenith_worker.wire.states import RANKS, Status

#: Steps that a later one can carry.
_CARRIED: Final = frozenset({Status.RECEIVED, Status.STARTED})


def folded(steps: Sequence[Event]) -> list[Event]:
    """Return the steps in their order, without those that a later one of the same run now carries."""
    newest: dict[str, int] = {}
    kept: list[Event | None] = []
    for step in steps:
        index = newest.get(step.task_id)
        if index is not None and (earlier := kept[index]) is not None and _may_carry(step, earlier):
            _carry(step, earlier)
            kept[index] = None
        newest[step.task_id] = len(kept)
        kept.append(step)
    return [step for step in kept if step is not None]


def _may_carry(step: Event, earlier: Event) -> bool:
    """Whether both are steps of the same delivery at the same worker, in their order, and nothing of the earlier one is lost.

    When a task was to run is not carried: that of a retry is when it runs again.
    """
    return (
        earlier.status in _CARRIED
        and RANKS[step.status] > RANKS[earlier.status]
        and step.attempt == earlier.attempt
        and step.delivery == earlier.delivery
        and step.nesting == earlier.nesting
        and step.worker == earlier.worker
        and earlier.not_before is None
        and (not step.name or step.name == earlier.name)
    )


def _carry(step: Event, earlier: Event) -> None:
    if earlier.status == Status.RECEIVED:
        step.received_at = earlier.at
    else:
        step.received_at, step.started_at = earlier.received_at, earlier.at
    step.name = step.name or earlier.name
    step.queue = step.queue or earlier.queue
    step.args = earlier.args if step.args is None else step.args
    step.kwargs = earlier.kwargs if step.kwargs is None else step.kwargs
    step.parent_id = step.parent_id or earlier.parent_id
    step.root_id = step.root_id or earlier.root_id
