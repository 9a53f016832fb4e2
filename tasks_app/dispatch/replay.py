"""Replay dead letters as new tasks, or discard them.

1. The selected letters are locked, oldest first. If two callers select the same letter, the second waits and then finds it
   resolved: a letter is replayed once, unless that is forced.
2. In the same transaction each letter becomes REPLAYED and its new task is inserted like every dispatch (create.py),
   pointing at the task that it replaces.
3. After the commit the messages are published.

A replay that sends a few first, limits its rate, or covers very many letters is stored as a `ReplayRun`, which the engines
carry out (replay_runner.py).
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet, Subquery
from django.utils import timezone

from tasks_app import catalog
from tasks_app.catalog import CatalogEntry
from tasks_app.dispatch.create import Origin, inherited, new_batch, write_tasks
from tasks_app.dispatch.rows import NewTask
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, DeadLetter, ReplayRun, Task, TaskMessage
from tasks_app.models.application import NATIVE_ID, Kind
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.models.replay_run import ACTIVE, RunState
from tasks_app.recording.workflows import roots_of_replays
from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.masking import mask_problems

#: Letters replayed in one transaction; a larger replay becomes a run.
AT_ONCE: Final = 1000
#: The most that may be replayed first, since all of them are watched at once.
MAX_FIRST: Final = 1000
MAX_RATE: Final = 10_000.0
MAX_NOTE: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A request to replay dead letters.

    `kwargs` replace the arguments with these names, whether they were sent by position or by name.
    `args` replace all positional arguments, and are allowed for a single letter only.
    `first`: replay this many first, and the rest only if all of these succeed. `rate`: tasks per second.
    `forced`: include letters that were already replayed or discarded.
    """

    selection: Selection
    args: list[Any] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    rate: float | None = None
    forced: bool = False


class Replacement(NamedTuple):
    """A dead letter's id, its task, and the new task that replaces it."""

    letter: int
    dead: UUID
    new: UUID


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay: the new tasks, or the run that will send them.

    `passed_over` counts selected letters that were skipped because they were already resolved.
    """

    done: Sequence[Replacement]
    passed_over: int = 0
    run: ReplayRun | None = None


def replay(request: Replay, origin: Origin) -> Replayed:
    """Replay dead letters, at once or as a run. Raises InvalidDispatchError; then nothing was written."""
    problems = [*_field_problems(request)]
    if problems:
        raise InvalidDispatchError(*problems)
    request = _limited(request, origin)
    letters = replayable_letters(request.selection, forced=request.forced)
    with transaction.atomic():
        total = letters.count()
        if request.kwargs or request.args is not None:
            _check_edits(letters, request, total)
        # Edited `args` are for a single letter, so `first` and `rate` have no effect.
        if total and request.args is None and (request.first or request.rate or total > AT_ONCE):
            return Replayed([], run=_start_run(request, origin, total))
        replacements = replay_letters(letters, request, origin)
        return Replayed(replacements, passed_over=request.selection.query().count() - len(replacements))


def _limited(request: Replay, origin: Origin) -> Replay:
    """Return the request for the letters that whoever makes it may see; a run stores exactly those."""
    if origin.visible is None:
        return request
    return replace(request, selection=replace(request.selection, visible=origin.visible).exact())


def replayable_letters(selection: Selection, *, forced: bool = False) -> QuerySet[DeadLetter]:
    """Return the letters of a selection that can be replayed: those still open, or with `forced` all of them.

    Letters of tasks whose arguments are not JSON are left out, since their messages cannot be rebuilt, and so are those of
    applications that are only watched, which tell no exact arguments.
    """
    opaque = Exists(TaskMessage.objects.filter(task=OuterRef("task"), extras__opaque=True))
    letters = selection.query() if forced else open_letters(selection)
    watched = Application.objects.filter(kind=Kind.WATCHED).order_by().values("id")
    return letters.exclude(opaque).exclude(application__in=Subquery(watched))


def open_letters(selection: Selection) -> QuerySet[DeadLetter]:
    """Return the open letters of a selection: those that wait for a decision and can be discarded."""
    return selection.query().filter(state=LetterState.OPEN)


def replay_letters(letters: QuerySet[DeadLetter], request: Replay, origin: Origin, limit: int = AT_ONCE) -> list[Replacement]:
    """Replay up to `limit` letters, oldest first, inside the open transaction."""
    locked = list(letters.select_related("task").select_for_update(of=("self",)).order_by("id")[:limit])
    DeadLetter.objects.filter(id__in=[letter.id for letter in locked]).update(
        state=LetterState.REPLAYED, resolved_at=timezone.now(), resolved_by=origin.sent_by[:200]
    )
    of_kind: dict[tuple[int, str], list[DeadLetter]] = defaultdict(list)
    for letter in locked:
        of_kind[letter.task.application_id or NATIVE_ID, letter.task_name].append(letter)
    applications = Application.objects.in_bulk({application_id for application_id, _ in of_kind})
    replacements = []
    for (application_id, name), same_letters in sorted(of_kind.items()):
        application = applications[application_id]
        extras_of = inherited([letter.task_id for letter in same_letters])
        root_of = roots_of_replays(letter.task for letter in same_letters)
        entry = catalog.known_entry(name, application_id) if request.kwargs else None
        tasks = [
            _successor(letter.task, application, entry, request, extras_of.get(letter.task_id))._replace(
                root=root_of.get(letter.task_id)
            )
            for letter in same_letters
        ]
        write_tasks(new_batch(name, len(tasks), origin, application), tasks, application)
        replacements += [Replacement(old.id, old.task_id, new.id) for old, new in zip(same_letters, tasks, strict=True)]
    return replacements


def newest_id() -> int:
    """Return the id of the newest dead letter, or 0 if there is none."""
    return DeadLetter.objects.aggregate(newest=Max("id"))["newest"] or 0


def discard(selection: Selection, note: str, origin: Origin) -> int:
    """Discard the open letters of a selection for good; return how many. Raises InvalidInputError."""
    if len(note) > MAX_NOTE:
        raise InvalidInputError(Problem("/note", f"must have at most {MAX_NOTE:,} characters"))
    problems = list(jsonsafe.problems(note, "/note"))
    if problems:
        raise InvalidInputError(*problems)
    with transaction.atomic():
        # Locked in the same order as by a replay, so the two never deadlock.
        selection = replace(selection, visible=origin.visible)
        ids = open_letters(selection).select_for_update().order_by("id").values_list("id", flat=True)
        return DeadLetter.objects.filter(id__in=list(ids)).update(
            state=LetterState.DISCARDED, resolved_at=timezone.now(), note=note,
            resolved_by=origin.sent_by[:200],
        )  # fmt: skip


def stop_run(run_id: UUID, origin: Origin) -> bool:
    """Stop a run; return whether it was still active. Letters that it has replayed stay replayed."""
    stopped = ReplayRun.objects.filter(id=run_id, state__in=ACTIVE).update(
        state=RunState.STOPPED, finished_at=timezone.now(),
        reason=f"Stopped by {origin.sent_by}." if origin.sent_by else "Stopped.",
    )  # fmt: skip
    return stopped == 1


def _start_run(request: Replay, origin: Origin, total: int) -> ReplayRun:
    now = timezone.now()
    selection = request.selection
    ids = None if selection.task_ids is None else list(selection.task_ids)
    return ReplayRun.objects.create(
        task_ids=ids, fingerprint=selection.fingerprint, task_name=selection.task_name,
        error_type=selection.error_type, newest=newest_id(), kwargs=request.kwargs, forced=request.forced,
        first=request.first, rate=request.rate, source=origin.source, sent_by=origin.sent_by[:200],
        user_id=origin.user_id, total=total, next_at=now, created_at=now,
    )  # fmt: skip


def _successor(
    dead: Task, application: Application, entry: CatalogEntry | None, request: Replay, extras: dict[str, Any] | None
) -> NewTask:
    args, kwargs = dead.args, dead.kwargs
    if extras and isinstance(extras.get("args"), list) and isinstance(extras.get("kwargs"), dict):
        # The message has its own arguments, which pages do not show; edit those.
        real_args, real_kwargs = _edited(entry, extras["args"], extras["kwargs"], request)
        extras = {**extras, "args": real_args, "kwargs": real_kwargs}
    else:
        args, kwargs = _edited(entry, args, kwargs, request)
    return NewTask.of(
        application, queue=dead.queue, args=json.dumps(args), kwargs=json.dumps(kwargs),
        priority=dead.priority, max_retries=dead.max_retries, replay_of=dead.id,
        # Without `expires_at`: whoever replays the task wants it to run now.
        time_limit=dead.time_limit, soft_time_limit=dead.soft_time_limit, extras=extras,
    )  # fmt: skip


def _edited(
    entry: CatalogEntry | None, args: list[Any], kwargs: dict[str, Any], request: Replay
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of the new task; `entry` is what the catalogue knows of the task.

    An edited argument that was sent by position stays positional; otherwise it would be given twice.
    """
    args = list(args) if request.args is None else list(request.args)
    kwargs = dict(kwargs)
    index_of = {} if entry is None else entry.named_positions
    for name, value in request.kwargs.items():
        index = index_of.get(name, len(args))
        if index < len(args):
            args[index] = value
        else:
            kwargs[name] = value
    return args, kwargs


def _field_problems(request: Replay) -> Iterator[Problem]:
    if not 0 <= request.first <= MAX_FIRST:
        yield Problem("/first", f"must be between 0 and {MAX_FIRST:,}")
    if request.rate is not None and not (math.isfinite(request.rate) and 0 < request.rate <= MAX_RATE):
        yield Problem("/rate", f"must be more than 0 and at most {MAX_RATE:,.0f} tasks per second")
    yield from jsonsafe.problems(request.kwargs, "/kwargs")
    if request.args is not None:
        yield from jsonsafe.problems(request.args, "/args")
    yield from mask_problems(request.kwargs, "/kwargs")
    yield from mask_problems(request.args, "/args")


def _check_edits(letters: QuerySet[DeadLetter], request: Replay, total: int) -> None:
    """Check edited arguments against the signature of every task that would get them. Raises InvalidDispatchError.

    Arguments that are not edited were accepted before. Tasks of other programs are not checked, since their signatures are
    not known here.
    """
    if request.args is not None and total > 1:
        raise InvalidDispatchError(Problem("/args", "can be edited for a single dead letter only; use `kwargs` for several"))
    problems: dict[Problem, None] = {}
    known: dict[tuple[str, int | None], CatalogEntry | None] = {}
    effort = catalog.Effort()
    for letter in letters.select_related("task").iterator(chunk_size=AT_ONCE):
        kind = letter.task_name, letter.task.application_id
        if kind not in known:
            known[kind] = catalog.known_entry(*kind)
        if (entry := known[kind]) is not None:
            edited = _edited(entry, letter.task.args, letter.task.kwargs, request)
            problems |= dict.fromkeys(entry.problems(*edited, effort))
        if len(problems) >= jsonsafe.MAX_NAMED:
            break
    if problems:
        raise InvalidDispatchError(*problems)
