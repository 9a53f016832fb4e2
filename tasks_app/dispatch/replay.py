"""Deciding about dead letters: replaying them as new tasks, or discarding them.

1. The letters meant are locked, oldest first. Of two callers who mean the same one, the second
   waits, and then finds it decided: a letter is replayed once, unless that is forced.
2. In the same transaction each letter becomes REPLAYED and its new task is written, through the
   same door as every dispatch (create.py), pointing at the task that it stands in for.
3. After the commit the messages are published.

A replay of a few first, one at a limited rate, or one of very many is not done here and now: it
is written down as a `ReplayRun`, and the engines work it off (replays.py).
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.utils import timezone

from tasks_app import catalog
from tasks_app.catalog import CatalogEntry
from tasks_app.dispatch.create import NewTask, Origin, inherited, new_batch, write_tasks
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import DeadLetter, ReplayRun, Task, TaskMessage
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.models.replay_run import ACTIVE, RunState
from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.masking import mask_problems
from zenith_worker.wire.ids import new_id

#: Letters replayed in one transaction; more become a run.
AT_ONCE: Final = 1000
#: How many may go first: all of them are watched at once.
MAX_FIRST: Final = 1000
MAX_RATE: Final = 10_000.0
MAX_NOTE: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What to replay, and how.

    `kwargs` replace the arguments of these names, whether they were sent by position or by name.
    `args` replace all positional arguments, which only makes sense where one letter is meant.
    `first`: so many first, and the rest only if all of these succeed. `rate`: tasks per second.
    `forced`: also what was replayed or discarded before.
    """

    which: Selection
    args: list[Any] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    rate: float | None = None
    forced: bool = False


class Replacement(NamedTuple):
    """A dead letter's id, its task, and the new task in its place."""

    letter: int
    dead: UUID
    new: UUID


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was done, or the run that will do it.

    `passed_over` counts letters that were meant, but had been decided about before.
    """

    done: Sequence[Replacement]
    passed_over: int = 0
    run: ReplayRun | None = None


def replay(asked: Replay, origin: Origin) -> Replayed:
    """Replay dead letters, now or as a run. Raises InvalidDispatchError; then nothing was written."""
    problems = [*_field_problems(asked)]
    if problems:
        raise InvalidDispatchError(*problems)
    meant = matching(asked.which, forced=asked.forced)
    with transaction.atomic():
        total = meant.count()
        if asked.kwargs or asked.args is not None:
            _check_edits(meant, asked, total)
        # Edited `args` mean one letter: there is nothing to go first, and nothing to slow down.
        if total and asked.args is None and (asked.first or asked.rate or total > AT_ONCE):
            return Replayed([], run=_start_run(asked, origin, total))
        done = replay_letters(meant, asked, origin)
        return Replayed(done, passed_over=asked.which.query().count() - len(done))


def matching(which: Selection, *, forced: bool = False) -> QuerySet[DeadLetter]:
    """Return the letters that a replay means: what is still open, or with `forced` all of the selection.

    Not those of tasks whose arguments are not JSON: their messages cannot be made again.
    """
    opaque = Exists(TaskMessage.objects.filter(task=OuterRef("task"), extras__opaque=True))
    meant = which.query() if forced else open_letters(which)
    return meant.exclude(opaque)


def open_letters(which: Selection) -> QuerySet[DeadLetter]:
    """Return the letters of a selection that nobody has decided about: those that can be discarded."""
    return which.query().filter(state=LetterState.OPEN)


def replay_letters(letters: QuerySet[DeadLetter], asked: Replay, origin: Origin, limit: int = AT_ONCE) -> list[Replacement]:
    """Replay up to `limit` letters, oldest first, inside the open transaction."""
    locked = list(letters.select_related("task").select_for_update(of=("self",)).order_by("id")[:limit])
    DeadLetter.objects.filter(id__in=[letter.id for letter in locked]).update(
        state=LetterState.REPLAYED, resolved_at=timezone.now(), resolved_by=origin.sent_by[:200]
    )
    by_name: dict[str, list[DeadLetter]] = defaultdict(list)
    for letter in locked:
        by_name[letter.task_name].append(letter)
    done = []
    for name, dead in sorted(by_name.items()):
        carried = inherited([letter.task_id for letter in dead])
        tasks = [_successor(letter.task, asked, carried.get(letter.task_id)) for letter in dead]
        write_tasks(new_batch(name, len(tasks), origin), tasks)
        done += [Replacement(old.id, old.task_id, new.id) for old, new in zip(dead, tasks, strict=True)]
    return done


def newest_id() -> int:
    """Return the id of the newest dead letter; 0 where there is none."""
    return DeadLetter.objects.aggregate(newest=Max("id"))["newest"] or 0


def discard(which: Selection, note: str, origin: Origin) -> int:
    """Discard what is open of a selection, for good; return how many. Raises InvalidInputError."""
    if len(note) > MAX_NOTE:
        raise InvalidInputError(Problem("/note", f"must have at most {MAX_NOTE:,} characters"))
    problems = list(jsonsafe.problems(note, "/note"))
    if problems:
        raise InvalidInputError(*problems)
    with transaction.atomic():
        # In the order in which a replay locks them, too: two at once never wait in a circle.
        meant = open_letters(which).select_for_update().order_by("id").values_list("id", flat=True)
        return DeadLetter.objects.filter(id__in=list(meant)).update(
            state=LetterState.DISCARDED, resolved_at=timezone.now(), note=note,
            resolved_by=origin.sent_by[:200],
        )  # fmt: skip


def stop_run(run_id: UUID, origin: Origin) -> bool:
    """End a run before its time; return whether it was still under way. What was replayed stays so."""
    stopped = ReplayRun.objects.filter(id=run_id, state__in=ACTIVE).update(
        state=RunState.STOPPED, finished_at=timezone.now(),
        reason=f"Stopped by {origin.sent_by}." if origin.sent_by else "Stopped.",
    )  # fmt: skip
    return stopped == 1


def _start_run(asked: Replay, origin: Origin, total: int) -> ReplayRun:
    now = timezone.now()
    which = asked.which
    ids = None if which.task_ids is None else list(which.task_ids)
    return ReplayRun.objects.create(
        task_ids=ids, fingerprint=which.fingerprint, task_name=which.task_name,
        error_type=which.error_type, newest=newest_id(), kwargs=asked.kwargs, forced=asked.forced,
        first=asked.first, rate=asked.rate, source=origin.source, sent_by=origin.sent_by[:200],
        user_id=origin.user_id, total=total, next_at=now, created_at=now,
    )  # fmt: skip


def _successor(dead: Task, asked: Replay, extras: dict[str, Any] | None) -> NewTask:
    args, kwargs = dead.args, dead.kwargs
    if extras and "args" in extras:
        # Hidden from whoever looks at the task: so they stay.
        real_args, real_kwargs = _edited(dead.name, extras["args"], extras["kwargs"], asked)
        extras = {**extras, "args": real_args, "kwargs": real_kwargs}
    else:
        args, kwargs = _edited(dead.name, args, kwargs, asked)
    return NewTask(
        id=new_id(), queue=dead.queue, args=json.dumps(args), kwargs=json.dumps(kwargs),
        priority=dead.priority, max_retries=dead.max_retries, replay_of=dead.id,
        # Not its `expires_at`: whoever replays it wants it now.
        time_limit=dead.time_limit, soft_time_limit=dead.soft_time_limit, extras=extras,
    )  # fmt: skip


def _edited(name: str, args: list[Any], kwargs: dict[str, Any], asked: Replay) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of the new task.

    An edited argument that was sent by position keeps its place; it would be given twice otherwise.
    """
    args = list(args) if asked.args is None else list(asked.args)
    kwargs = dict(kwargs)
    entry = catalog.entries().get(name) if asked.kwargs else None
    places = _places(entry)
    for name, value in asked.kwargs.items():
        place = places.get(name, len(args))
        if place < len(args):
            args[place] = value
        else:
            kwargs[name] = value
    return args, kwargs


def _places(entry: CatalogEntry | None) -> Mapping[str, int]:
    if entry is None:
        return {}
    named = (
        (index, parameter)
        for index, parameter in enumerate(entry.signature.parameters.values())
        if parameter.kind == parameter.POSITIONAL_OR_KEYWORD
    )
    return {parameter.name: index for index, parameter in named}


def _field_problems(asked: Replay) -> Iterator[Problem]:
    if not 0 <= asked.first <= MAX_FIRST:
        yield Problem("/first", f"must be between 0 and {MAX_FIRST:,}")
    if asked.rate is not None and not (math.isfinite(asked.rate) and 0 < asked.rate <= MAX_RATE):
        yield Problem("/rate", f"must be more than 0 and at most {MAX_RATE:,.0f} tasks per second")
    yield from jsonsafe.problems(asked.kwargs, "/kwargs")
    if asked.args is not None:
        yield from jsonsafe.problems(asked.args, "/args")
    yield from mask_problems(asked.kwargs, "/kwargs")
    yield from mask_problems(asked.args, "/args")


def _check_edits(meant: QuerySet[DeadLetter], asked: Replay, total: int) -> None:
    """Hold edited arguments against the signature of every task that would get them.

    Arguments that are not edited were accepted before, and are sent as they were. So is what a
    task of other code would get, whose signature nobody here knows. Raises InvalidDispatchError.
    """
    if asked.args is not None and total > 1:
        raise InvalidDispatchError(Problem("/args", "can be edited for a single dead letter only; use `kwargs` for several"))
    found: dict[Problem, None] = {}
    for letter in meant.select_related("task").iterator(chunk_size=AT_ONCE):
        entry = catalog.entries().get(letter.task_name)
        if entry is not None:
            found |= dict.fromkeys(entry.problems(*_edited(letter.task_name, letter.task.args, letter.task.kwargs, asked)))
        if len(found) >= jsonsafe.MAX_NAMED:
            break
    if found:
        raise InvalidDispatchError(*found)
