"""Finding the tasks that a search means: which index to walk, and what to look at on the way.

Everything that narrows a search down is tried in the order of how much it does: ids and batches are
few, argument values are usually rare (a GIN index knows them), errors only lie with tasks that failed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tasks_app.models.places import NEWEST, OLDEST, Place
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
from zenith_worker.wire.ids import keys_of
from zenith_worker.wire.states import OPEN, Status

#: The only statuses in which a row has an error; every new attempt clears it.
WITH_ERROR: Final = (Status.FAILURE, Status.RETRY, Status.REVOKED)
#: Different pairs of name and queue, and different workers, that are told apart; more are looked at row by row.
MAX_PAIRS: Final = 1_000
MAX_WORKERS: Final = 500
#: Keys walked at once.
MAX_KEYS: Final = 300
#: Tasks with an argument's value that are taken one by one; a value that more of them have is met by walking.
MAX_SOME: Final = 3_000
#: Arguments tried for that.
MAX_PROBES: Final = 3
#: Rows looked at before a value counts as rare.
FIRST_REACH: Final = 1_000
#: What to walk, and the conditions that are left to look at.
_Streams = tuple[list[Stream], list[IndexCondition]]
#: How far the clocks of who sends a task and of who runs it may lie apart.
SLACK: Final = timedelta(minutes=1)
#: What the bounds of every walk answer.
CREATION: Final = frozenset({"created_at"})
# In the partial index's own words.
_WORKER: Final = "NOT (task.worker = '')"
_PAIRS: Final = Index(("name", "queue"), MAX_PAIRS)
_WORKERS: Final = Index(("worker",), MAX_WORKERS, _WORKER)


@dataclass(frozen=True, slots=True)
class _Known:
    """The pairs of name and queue, and the workers, that there are; None for those that are too many or not asked for."""

    pairs: list[tuple[str, ...]] | None
    workers: list[tuple[str, ...]] | None


def find(search: Search, before: Place | None, wanted: int) -> Walked:
    """Return the places of up to `wanted` tasks, newest first, all before `before`.

    The number of queries depends on what kinds of terms there are, never on how many tasks.
    """
    below = before or NEWEST
    if search.ids or search.batches or search.parents:
        few = [*conditions(search), *named(search)]
        return Walked(newest(joined(few), below, wanted))
    known = _known(search)
    chosen = _streams(search, known)
    if not search.arguments:
        return _walk(search, chosen, below, wanted, REACH)
    soon = _walk(search, chosen, below, wanted, FIRST_REACH)
    if soon.reached is None:
        return soon
    probed = list(probes(search))[:MAX_PROBES]
    ended = fewest(probed, MAX_SOME) if probed else None
    if ended is None:
        return _walk(search, chosen, below, wanted, REACH)
    matching = [IndexCondition("task.id = ANY(%(ended)s)", {"ended": ended}), *conditions(search)]
    # Those that are open are in no such index, and few.
    unfinished = _open(search)
    still_open = _walk(unfinished, _streams(unfinished, known), below, wanted, REACH)
    return _together(newest(joined(matching), below, wanted), still_open, wanted)


def waiting_before(place: Place, queue: str, most: int) -> dict[str, int] | None:
    """Return how many tasks of each name wait in a queue before a place, `most` at most of each; two queries.

    None where there are too many names to tell them apart.
    """
    [pairs] = distinct(_PAIRS)
    if pairs is None:
        return None
    keys = [(name, of, Status.QUEUED) for name, of in pairs if of == queue]
    found = counts(Stream(("name", "queue", "status"), keys, last=place), most)
    return {name: size for (name, *_), size in found if size}


def _known(search: Search) -> _Known:
    """Read what the streams of a search are chosen by, in one query; in none where they need nothing."""
    wanted = {
        _PAIRS: bool(search.name or search.names or search.queues),
        _WORKERS: any(not choice.unwanted for choice in (*search.workers, *search.words)),
    }
    indexes = [index for index, needed in wanted.items() if needed]
    found = dict(zip(indexes, distinct(*indexes), strict=True)) if indexes else {}
    return _Known(found.get(_PAIRS), found.get(_WORKERS))


def _walk(search: Search, chosen: _Streams, before: Place, wanted: int, reach: int) -> Walked:
    streams, rest = chosen
    first, last = OLDEST, NEWEST
    if search.since:
        first = Place.first_at(search.since)
    if search.until:
        last = Place.last_at(search.until)
    if search.ended_until:
        # Nothing ends before it was created.
        last = min(last, _slack_after(search.ended_until))
    return walk([replace(stream, first=first, last=last) for stream in streams], joined(rest), before, wanted, reach)


def _slack_after(moment: datetime) -> Place:
    try:
        return Place.last_at(moment + SLACK)
    except OverflowError:
        return NEWEST


def _together(ended: Sequence[Place], still_open: Walked, wanted: int) -> Walked:
    places = sorted({*still_open.places, *ended}, reverse=True)[:wanted]
    if still_open.reached is None:
        return Walked(places)
    sure = [place for place in places if place >= still_open.reached]
    return Walked(sure, None if len(sure) == wanted else still_open.reached)


def _open(search: Search) -> Search:
    """Return the search among tasks that have not ended."""
    return replace(search, statuses=OPEN & (search.statuses if search.statuses is not None else OPEN))


def _streams(search: Search, known: _Known) -> _Streams:
    """Return what to walk, and the conditions that are left to look at."""
    statuses = set(search.statuses if search.statuses is not None else Status)
    words = [word for word in search.words if not word.unwanted]
    if any(not error.unwanted for error in search.errors):
        statuses &= set(WITH_ERROR)
    elif words:
        return _word_streams(words[0], search, known), [*conditions(search, but=CREATION)]
    base, covered = _base(search, statuses, known)
    if any(not worker.unwanted for worker in search.workers):
        workers = _workers(search, known)
        if workers is not None:
            chosen = shortest([base, Stream(("worker",), workers, _WORKER)])
            covered = covered if chosen is base else set()
            base = chosen
    return [base], [*conditions(search, but=covered | CREATION)]


def _base(search: Search, statuses: set[Status], known: _Known) -> tuple[Stream, set[str]]:
    """Return the stream for statuses, names and queues, and which of these it answers."""
    if search.name or search.names or search.queues:
        found = _pairs(search, known)
        if found is not None and len(found) * len(statuses) <= MAX_KEYS:
            keys = [(*pair, status) for pair in found for status in sorted(statuses)]
            return Stream(("name", "queue", "status"), keys), {"name", "queue", "status"}
    if len(statuses) == len(Status):
        return Stream(), {"status"}
    return Stream(("status",), [(status,) for status in sorted(statuses)]), {"status"}


def _word_streams(word: FilterValue, search: Search, known: _Known) -> list[Stream]:
    """Return where a word may be found: with errors, at workers of such a name, or as the id itself."""
    statuses = set(WITH_ERROR) & set(search.statuses if search.statuses is not None else Status)
    found = [Stream(("status",), [(status,) for status in sorted(statuses)])]
    if known.workers is None:
        return [Stream()]
    keys = [key for key in known.workers if word.value.casefold() in key[0].casefold()]
    found.append(Stream(("worker",), keys, _WORKER))
    found += [Stream(partial=f"task.id = '{key}'") for key in sorted(keys_of(word.value))]
    return found


def _pairs(search: Search, known: _Known) -> list[tuple[str, ...]] | None:
    if known.pairs is None:
        return None
    found = [pair for pair in known.pairs if search.name in ("", pair[0])]
    return [pair for pair in found if _fits(pair[0], search.names) and _fits(pair[1], search.queues)]


def _workers(search: Search, known: _Known) -> list[tuple[str, ...]] | None:
    if known.workers is None:
        return None
    keys = [key for key in known.workers if _fits(key[0], search.workers) or _fits(key[0].partition("@")[0], search.workers)]
    return keys if len(keys) <= MAX_KEYS else None


def _fits(value: str, choices: Iterable[FilterValue]) -> bool:
    wanted = [choice for choice in choices if not choice.unwanted]
    if wanted and not any(_matches(value, choice.value) for choice in wanted):
        return False
    return not any(choice.unwanted and _matches(value, choice.value) for choice in choices)


def _matches(value: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None
