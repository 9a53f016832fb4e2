"""Find the tasks that match a search: choose the index to scan, and the conditions to check on the way.

Conditions are tried in the order of how much they narrow a search down: ids and batches are few, argument values are usually
rare (a GIN index has them), and only tasks that failed have errors.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.places import NEWEST, OLDEST, Place
from tasks_app.models.task_keys import keys_meant
from tasks_app.search.conditions import conditions, joined, named, probes
from tasks_app.search.index_scan import (
    REACH,
    Index,
    IndexCondition,
    Stream,
    Walked,
    counts,
    distinct,
    fewest,
    newest,
    shortest,
    walk,
)
from tasks_app.search.parser import FilterValue, Search
from zenith_worker.wire.states import OPEN, Status

#: The only statuses in which a row has an error, since every new attempt clears it.
WITH_ERROR: Final = (Status.FAILURE, Status.RETRY, Status.REVOKED)
#: The most pairs of name and queue, and workers, that are told apart; if there are more, rows are checked one by one.
MAX_PAIRS: Final = 1_000
MAX_WORKERS: Final = 500
#: The most keys scanned at once.
MAX_KEYS: Final = 300
#: The most tasks with an argument's value that are read by id; a more frequent value is found by scanning.
MAX_SOME: Final = 3_000
#: The most arguments that the index is asked for.
MAX_PROBES: Final = 3
#: Rows scanned before a value counts as rare.
FIRST_REACH: Final = 1_000
#: The streams to scan, and the conditions left to check.
_Streams = tuple[list[Stream], list[IndexCondition]]
#: How far the clocks of a task's sender and its worker may differ.
SLACK: Final = timedelta(minutes=1)
#: The condition that the bounds of every scan answer.
CREATION: Final = frozenset({"created_at"})
# In the partial indexes' own words.
_WORKER: Final = "NOT (task.worker = '')"
_ATTACHED: Final = f"NOT (task.application_id = {NATIVE_ID})"
_PAIRS: Final = Index(("name", "queue"), MAX_PAIRS)
_WORKERS: Final = Index(("worker",), MAX_WORKERS, _WORKER)


@dataclass(frozen=True, slots=True)
class _Values:
    """The pairs of name and queue, and the workers, that exist; None if there are too many, or they are not needed.

    `applications`: the keys of those that a search names or is limited to; None if it is about all, or about Zenith's own, whose
    tasks have no index.
    """

    pairs: list[tuple[str, ...]] | None
    workers: list[tuple[str, ...]] | None
    applications: list[str] | None


def find(search: Search, before: Place | None, limit: int) -> Walked:
    """Return the places of up to `limit` matching tasks, newest first, all before `before`.

    The number of queries depends on the kinds of terms, never on the number of tasks.
    """
    below = before or NEWEST
    if search.ids or search.batches or search.parents:
        few = [*conditions(search), *named(search)]
        return Walked(newest(joined(few), below, limit))
    values = _read_values(search)
    streams = _streams(search, values)
    if not search.arguments:
        return _walk(search, streams, below, limit, REACH)
    first_walk = _walk(search, streams, below, limit, FIRST_REACH)
    if first_walk.reached is None:
        return first_walk
    index_conditions = list(probes(search))[:MAX_PROBES]
    ended = fewest(index_conditions, MAX_SOME) if index_conditions else None
    if ended is None:
        return _walk(search, streams, below, limit, REACH)
    matching = [IndexCondition("task.id = ANY(%(ended)s)", {"ended": ended}), *conditions(search)]
    # Open tasks are not in that index, and are few.
    open_search = _among_open(search)
    open_tasks = _walk(open_search, _streams(open_search, values), below, limit, REACH)
    return _merge(newest(joined(matching), below, limit), open_tasks, limit)


def waiting_before(place: Place, queue: str, most: int) -> dict[str, int] | None:
    """Return how many tasks of Zenith's own of each name wait in a queue before a place, up to `most` each; two queries.

    None if there are too many names to count each.
    """
    [pairs] = distinct(_PAIRS)
    if pairs is None:
        return None
    keys = [(name, of, Status.QUEUED) for name, of in pairs if of == queue]
    sizes = counts(Stream(("name", "queue", "status"), keys, f"task.application_id = {NATIVE_ID}", last=place), most)
    return {name: size for (name, *_), size in sizes if size}


def status_counts_of(
    applications: Iterable[int], most: int, among: Iterable[Status] = tuple(Status)
) -> dict[int, dict[Status, int]]:
    """Return how many tasks other people's applications have by status, counting up to `most` each; one query."""
    keys = list(product(map(str, applications), among))
    counted: dict[int, dict[Status, int]] = {}
    for (application, status), size in counts(Stream(("application_id", "status"), keys, _ATTACHED), most):
        counted.setdefault(int(application), {})[Status(status)] = size
    return counted


def names_and_queues() -> list[tuple[str, ...]]:
    """Return the pairs of name and queue that tasks of any application have, in one query; none if there are too many."""
    (pairs,) = distinct(_PAIRS)
    return pairs or []


def _read_values(search: Search) -> _Values:
    """Read the values by which a search's streams are chosen, in one query, or none if they are not needed."""
    is_needed = {
        _PAIRS: bool(search.name or search.names or search.queues),
        _WORKERS: any(not choice.unwanted for choice in (*search.workers, *search.words)),
    }
    indexes = [index for index, needed in is_needed.items() if needed]
    values_of = dict(zip(indexes, distinct(*indexes), strict=True)) if indexes else {}
    return _Values(values_of.get(_PAIRS), values_of.get(_WORKERS), _read_applications(search))


def _read_applications(search: Search) -> list[str] | None:
    """Return the keys of the applications that a search names or is limited to, in one query if there are such; see _Values."""
    if not search.application and not search.applications and search.visible is None:
        return None
    names = dict(Application.objects.order_by().values_list("id", "name"))
    keys = [key for key, name in names.items() if _is_of(search, name)]
    return None if NATIVE_ID in keys else [str(key) for key in keys]


def _is_of(search: Search, application: str) -> bool:
    """Whether tasks of an application can match a search."""
    if search.visible is not None and application not in search.visible:
        return False
    return search.application in ("", application) and _fits(application, search.applications)


def _walk(search: Search, streams_and_rest: _Streams, before: Place, limit: int, reach: int) -> Walked:
    streams, rest = streams_and_rest
    first, last = OLDEST, NEWEST
    if search.since:
        first = Place.first_at(search.since)
    if search.until:
        last = Place.last_at(search.until)
    if search.ended_until:
        # No task ends before it was created.
        last = min(last, _slack_after(search.ended_until))
    return walk([replace(stream, first=first, last=last) for stream in streams], joined(rest), before, limit, reach)


def _slack_after(moment: datetime) -> Place:
    try:
        return Place.last_at(moment + SLACK)
    except OverflowError:
        return NEWEST


def _merge(ended: Sequence[Place], open_tasks: Walked, limit: int) -> Walked:
    places = sorted({*open_tasks.places, *ended}, reverse=True)[:limit]
    if open_tasks.reached is None:
        return Walked(places)
    complete = [place for place in places if place >= open_tasks.reached]
    return Walked(complete, None if len(complete) == limit else open_tasks.reached)


def _among_open(search: Search) -> Search:
    """Return the same search among tasks that have not ended."""
    return replace(search, statuses=OPEN & (search.statuses if search.statuses is not None else OPEN))


def _streams(search: Search, values: _Values) -> _Streams:
    """Return the streams to scan, and the conditions left to check."""
    statuses = set(search.statuses if search.statuses is not None else Status)
    words = [word for word in search.words if not word.unwanted]
    if any(not error.unwanted for error in search.errors):
        statuses &= set(WITH_ERROR)
    elif words:
        return _word_streams(words[0], search, values), [*conditions(search, but=CREATION)]
    choices = [_base(search, statuses, values)]
    if values.applications is not None and len(values.applications) * len(statuses) <= MAX_KEYS:
        keys = [(application, status) for application in values.applications for status in sorted(statuses)]
        by_application = (Stream(("application_id", "status"), keys, _ATTACHED), {"application", "status"})
        # Only a name or a queue can narrow the search down further.
        choices = [*(choice for choice in choices if "name" in choice[1]), by_application]
    if any(not worker.unwanted for worker in search.workers):
        workers = _workers(search, values)
        if workers is not None:
            choices.append((Stream(("worker",), workers, _WORKER), set()))
    stream, covered = choices[0]
    if len(choices) > 1:
        shortest_stream = shortest([stream for stream, _ in choices])
        stream, covered = next(choice for choice in choices if choice[0] is shortest_stream)
    return [stream], [*conditions(search, but=covered | CREATION)]


def _base(search: Search, statuses: set[Status], values: _Values) -> tuple[Stream, set[str]]:
    """Return the stream for statuses, names and queues, and which of these conditions it answers."""
    if search.name or search.names or search.queues:
        pairs = _pairs(search, values)
        if pairs is not None and len(pairs) * len(statuses) <= MAX_KEYS:
            keys = [(*pair, status) for pair in pairs for status in sorted(statuses)]
            return Stream(("name", "queue", "status"), keys), {"name", "queue", "status"}
    if len(statuses) == len(Status):
        return Stream(), {"status"}
    return Stream(("status",), [(status,) for status in sorted(statuses)]), {"status"}


def _word_streams(word: FilterValue, search: Search, values: _Values) -> list[Stream]:
    """Return the streams in which a word can occur: tasks with errors, workers with such a name, and the task with that id."""
    statuses = set(WITH_ERROR) & set(search.statuses if search.statuses is not None else Status)
    streams = [Stream(("status",), [(status,) for status in sorted(statuses)])]
    if values.workers is None:
        return [Stream()]
    keys = [key for key in values.workers if word.value.casefold() in key[0].casefold()]
    streams.append(Stream(("worker",), keys, _WORKER))
    streams += [Stream(partial=f"task.id = '{key}'") for key in sorted(keys_meant(word.value))]
    return streams


def _pairs(search: Search, values: _Values) -> list[tuple[str, ...]] | None:
    if values.pairs is None:
        return None
    pairs = [pair for pair in values.pairs if search.name in ("", pair[0])]
    return [pair for pair in pairs if _fits(pair[0], search.names) and _fits(pair[1], search.queues)]


def _workers(search: Search, values: _Values) -> list[tuple[str, ...]] | None:
    if values.workers is None:
        return None
    keys = [key for key in values.workers if _fits(key[0], search.workers) or _fits(key[0].partition("@")[0], search.workers)]
    return keys if len(keys) <= MAX_KEYS else None


def _fits(value: str, choices: Iterable[FilterValue]) -> bool:
    positive = [choice for choice in choices if not choice.unwanted]
    if positive and not any(_matches(value, choice.value) for choice in positive):
        return False
    return not any(choice.unwanted and _matches(value, choice.value) for choice in choices)


def _matches(value: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None
