"""The search language of the task list: `status:FAILURE name:report* args.user:7 since:1h "no answer"`.

Terms are separated by spaces. `key:value` filters by one property; anything else is text that is searched for in a task's
error, in its worker's name and, if it is an id, in its id. Double quotes keep spaces and colons in one term; a leading `-`
negates a term.

Several terms of `status`, `name`, `queue`, `worker`, `application`, `id`, `batch` or `parent` match any of them; all other terms
must match together.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.utils.dateparse import parse_date, parse_datetime

from tasks_app.models.application import Visible
from zenith_worker.wire.ids import as_uuid
from zenith_worker.wire.states import STATUSES, Status

#: The most terms; nobody types more.
MAX_TERMS: Final = 20
_TIMES: Final = ("since", "until", "ended_since", "ended_until")
_KEYS: Final = ("status", "name", "queue", "worker", "application", "args.NAME", "error", *_TIMES, "id", "batch", "parent")
_TOKEN: Final = re.compile(r'(?P<minus>-?)(?:(?P<key>[A-Za-z_]+(?:\.[^\s:"]+)?):)?(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)')
_AGO: Final = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class FilterValue(NamedTuple):
    """A value to match, or with `unwanted` one that must not match."""

    value: str
    unwanted: bool = False


class Argument(NamedTuple):
    """An argument by its name or position (from 0), and the value to match, as text."""

    name: str
    value: str
    unwanted: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """A parsed search; an empty one matches every task.

    `names`, `queues`, `workers` and `applications` may contain `*` for any text; `errors` and `words` match anywhere, in any
    case. `name` and `application` are exact, in addition to `names` and `applications`. `since` and `until` are about the time
    of creation, `ended_since` and `ended_until` (exclusive) about the end. `ids` and `parents` are tasks' ids as a person gives
    them (models/task_keys.py). `unmasked`: stored text is searched and not the masked one, for users who may operate
    (masked.py). `visible`: the names of the applications that the caller may see.
    """

    name: str = ""
    application: str = ""
    statuses: frozenset[Status] | None = None
    names: tuple[FilterValue, ...] = ()
    queues: tuple[FilterValue, ...] = ()
    workers: tuple[FilterValue, ...] = ()
    applications: tuple[FilterValue, ...] = ()
    arguments: tuple[Argument, ...] = ()
    errors: tuple[FilterValue, ...] = ()
    words: tuple[FilterValue, ...] = ()
    ids: tuple[str, ...] = ()
    batches: tuple[UUID, ...] = ()
    parents: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    ended_until: datetime | None = None
    unmasked: bool = False
    visible: Visible = None


def quoted(value: str) -> str:
    """Return a value as a search term: in quotes if it would be read as several terms otherwise."""
    if not re.search(r'[\s"]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def without(text: str, key: str) -> str:
    """Return a search without its terms of one key, the rest as it was written. Raises ValueError if it cannot be parsed."""
    kept, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token = _token(text, place)
        place = token.end()
        if (token["key"] or "").lower() != key:
            kept.append(token[0])
    return " ".join(kept)


class _Term(NamedTuple):
    key: str
    value: str
    unwanted: bool


def parse(text: str, now: datetime) -> Search:
    """Parse a search; `now` is the time that `since:1h` counts from.

    Raises ValueError, whose text names the invalid term.
    """
    terms = list(_terms(text))
    if len(terms) > MAX_TERMS:
        raise ValueError(f"has {len(terms)} terms; a search may have at most {MAX_TERMS}")
    by_key: dict[str, list[_Term]] = {}
    for term in terms:
        by_key.setdefault(term.key.partition(".")[0], []).append(term)
    return Search(
        statuses=_statuses(by_key.get("status", [])),
        names=_choices(by_key.get("name", [])),
        queues=_choices(by_key.get("queue", [])),
        workers=_choices(by_key.get("worker", [])),
        applications=_choices(by_key.get("application", [])),
        arguments=tuple(Argument(term.key.partition(".")[2], term.value, term.unwanted) for term in by_key.get("args", [])),
        errors=_choices(by_key.get("error", [])),
        words=_choices(by_key.get("", [])),
        ids=_task_ids(by_key.get("id", [])),
        batches=_ids(by_key.get("batch", [])),
        parents=_task_ids(by_key.get("parent", [])),
        since=_moment(by_key.get("since", []), now, max),
        until=_moment(by_key.get("until", []), now, min),
        ended_since=_moment(by_key.get("ended_since", []), now, max),
        ended_until=_moment(by_key.get("ended_until", []), now, min),
    )


def _terms(text: str) -> Iterator[_Term]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token = _token(text, place)
        place = token.end()
        key, value = (token["key"] or ""), token["value"]
        is_quoted = value.startswith('"')
        if is_quoted:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        is_lone_minus = not key and not is_quoted and token["minus"] and not value
        yield _checked(_Term("", "-", False) if is_lone_minus else _Term(key, value, bool(token["minus"])))


def _token(text: str, place: int) -> re.Match[str]:
    token = _TOKEN.match(text, place)
    if token is None:
        raise ValueError(f"{_start_of(text, place)!r}: a double quote is not closed, or stands in the middle of a word")
    return token


def _checked(term: _Term) -> _Term:
    key, dot, argument = term.key.partition(".")
    key = key.lower()
    if term.key and key + (".NAME" if dot else "") not in _KEYS:
        hint = 'put it in "double quotes" to search for it as text'
        raise ValueError(f"there is no key {term.key!r}; keys are {', '.join(_KEYS)}; {hint}")
    if not term.value.strip():
        raise ValueError(f"{term.key or 'a quoted text'!r} needs a value")
    if term.unwanted and key in (*_TIMES, "id", "batch", "parent"):
        raise ValueError(f"{key!r} cannot be negated with '-'")
    return term._replace(key=f"{key}.{argument}" if dot else key)


def _start_of(text: str, place: int) -> str:
    return text[place : place + 40].split(maxsplit=1)[0]


def _choices(terms: list[_Term]) -> tuple[FilterValue, ...]:
    return tuple(FilterValue(term.value, term.unwanted) for term in terms)


def _statuses(terms: list[_Term]) -> frozenset[Status] | None:
    """Return the statuses to match, or None if no term names one."""
    if not terms:
        return None
    for term in terms:
        if term.value.upper() not in STATUSES:
            raise ValueError(f"there is no status {term.value!r}; statuses are {', '.join(STATUSES)}")
    statuses = {Status(term.value.upper()) for term in terms if not term.unwanted} or set(Status)
    return frozenset(statuses - {Status(term.value.upper()) for term in terms if term.unwanted})


def _task_ids(terms: list[_Term]) -> tuple[str, ...]:
    """Return the ids of the named tasks; in Celery any text can be one."""
    return tuple(dict.fromkeys(term.value for term in terms))


def _ids(terms: list[_Term]) -> tuple[UUID, ...]:
    def read(term: _Term) -> UUID:
        if (id_ := as_uuid(term.value)) is None:
            raise ValueError(f"{term.key}:{term.value!r} is not an id such as 01890a5d-ac96-774b-bcce-b302099a8057")
        return id_

    return tuple(dict.fromkeys(map(read, terms)))


def _moment(terms: list[_Term], now: datetime, strictest: Callable[[list[datetime]], Any]) -> datetime | None:
    moments = [_read_moment(term, now) for term in terms]
    return strictest(moments) if moments else None


def _read_moment(term: _Term, now: datetime) -> datetime:
    """Parse `90s`, `15m`, `1h`, `7d` or `2w` (before now), a date, or a time; without a time zone, in UTC."""
    try:
        if ago := _AGO.fullmatch(term.value):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if moment := parse_datetime(term.value):
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if date := parse_date(term.value):
            return datetime(date.year, date.month, date.day, tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{term.key}:{term.value!r} is not a time; use for example 15m, 1h, 7d, 2026-11-01 or 2026-11-01T08:30Z")
