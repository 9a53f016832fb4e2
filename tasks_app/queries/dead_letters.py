"""Dead letters: grouped by cause, listed one by one, and one in full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from tasks_app.models import Attempt, DeadLetter, Task
from tasks_app.models.application import Visible
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.models.task_keys import best_of, keys_meant
from tasks_app.queries.application_names import names_by_id
from tasks_app.queries.arguments import argument_line, know_names, with_lines
from tasks_app.queries.lineage import Relative, replays_of
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.parameters import DEFAULT_LIMIT, MAX_LIMIT, FilterText
from zenith_site.common.masking import mask_text
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.ids import key_meant

_MOST: Final = 2**63 - 1
#: Hours that a group's sparkline covers.
HOURS: Final = 24
#: Age ranges of letters, from the youngest; each ends where the next begins.
AGES: Final = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7), "older": timedelta.max}
#: Exceptions shown by age: those with the most open letters.
MOST_BY_AGE: Final = 12
_Age = Annotated[
    Literal["1h", "1d", "7d", "older"] | None,
    BeforeValidator(lambda value: value or None),
    WithJsonSchema({"type": "string", "enum": [*AGES, ""]}),
]
_State = Annotated[LetterState | None, BeforeValidator(lambda value: value or None)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Failures with the same cause, all of one application (`application` is its name).

    `newest` is the id of its newest letter, by which groups are ordered; `hours` is how many letters were written in each of
    the last HOURS, oldest first and the current hour last.
    """

    fingerprint: str
    task_name: str
    error_type: str
    message: str
    frame: str
    count: int
    open: int
    first_at: datetime
    last_at: datetime
    newest: int
    hours: list[int]
    application: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with its task, the tasks that replaced it, oldest first, and the name of its application.

    `line`: the task's arguments in one line, in a list.
    """

    letter: DeadLetter
    replayed_by: list[Relative]
    application: str = NATIVE_NAME
    line: str = ""


@dataclass(frozen=True)
class LetterPage:
    """A page of letters, newest first, and the filter for the next page, if there is one."""

    letters: list[Letter]
    following: "DeadLetterFilter | None"


@dataclass(frozen=True)
class GroupPage:
    """A page of groups, the group with the newest failure first, and the filter for the next page, if there is one."""

    groups: list[Group]
    following: "DeadLetterFilter | None"


class DeadLetterFilter(LimitedFilter):
    """Which dead letters to list. Owns the queries and the links, for the pages and the API alike.

    Pages go by key. The key of a group is its newest letter, so a group that fails again while somebody reads moves to the
    front.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to continue: taken from the `Link` of a page.")
    state: _State = Field(
        default=None,
        description="Only letters in this state. " + " ".join(f"`{state.value}`: {state.sentence}" for state in LetterState),
    )
    group: FilterText = Field(default="", description="Only letters of this group.")
    task: FilterText = Field(default="", description="Only letters of tasks of this name.")
    error: FilterText = Field(default="", description="Only letters of this exception, such as `ValueError`.")
    application: FilterText = Field(default="", description="Only letters of tasks of the application with this name.")
    age: _Age = Field(
        default=None, description="Only letters of this age: less than an hour, up to a day, up to a week, or older."
    )

    def page(self) -> LetterPage:
        """Return the letters of this page and their replays, in two queries, or three if some are of another application."""
        query = with_lines(self._query().select_related("task").order_by("-id"), "task__")
        if self.cursor:
            query = query.filter(id__lt=self.cursor)
        rows = list(query[: self.limit + 1])
        letters = rows[: self.limit]
        following = self._after(letters[-1].id) if len(rows) > self.limit else None
        know_names(letter.application_id for letter in letters)
        items = [replace(item, line=argument_line(item.letter, item.letter.task)) for item in _with_replays(letters)]
        return LetterPage(items, following)

    def groups(self) -> GroupPage:
        """Return the groups of this page, in one query, or two if some are of another application.

        Letters are few, since they are pruned.
        """
        query = (
            self._query()
            .order_by()
            .values("fingerprint")
            .annotate(
                task_name=Max("task_name"), error_type=Max("error_type"), message=Max("message"), frame=Max("frame"),
                count=Count("id"), open=Count("id", filter=Q(state=LetterState.OPEN)),
                first_at=Min("created_at"), last_at=Max("created_at"), newest=Max("id"), application=Max("application_id"),
                **_by_hour(),
            )
            .order_by("-newest")
        )  # fmt: skip
        if self.cursor:
            query = query.filter(newest__lt=self.cursor)
        rows = list(query[: self.limit + 1])
        names = names_by_id(row["application"] for row in rows)
        groups = [_group(row, names) for row in rows[: self.limit]]
        following = self._after(groups[-1].newest) if len(rows) > self.limit else None
        return GroupPage(groups, following)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def selection(self) -> Selection:
        """Return the letters of this filter as a Selection, in any state; with an age, exactly those that have it now."""
        if self.age:
            return Selection(visible=self._visible, task_ids=list(self._query().order_by("id").values_list("task_id", flat=True)))
        return self._selection()

    def state_counts(self) -> dict[str, int]:
        """Return how many letters are in each state, in one query; letters are few, since they are pruned."""
        every = self.model_copy(update={"state": None})._query()
        return dict(every.order_by().values_list("state").annotate(Count("id")))

    def _after(self, id_: int) -> "DeadLetterFilter":
        return self.model_copy(update={"cursor": id_})

    def _query(self) -> QuerySet[DeadLetter]:
        query = self._selection().query()
        if self.age:
            query = query.filter(_of_age(self.age, timezone.now()))
        return query.filter(state=self.state) if self.state else query

    def _selection(self) -> Selection:
        return Selection(
            fingerprint=self.group, task_name=self.task, error_type=self.error, application=self.application,
            visible=self._visible,
        )  # fmt: skip


def _by_hour() -> dict[str, Count]:
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    starts = [this_hour - timedelta(hours=HOURS - 1 - number) for number in range(HOURS)]
    return {
        f"hour{number}": Count("id", filter=Q(created_at__gte=start, created_at__lt=start + timedelta(hours=1)))
        for number, start in enumerate(starts)
    }


def _group(row: Mapping[str, Any], names: Mapping[int | None, str]) -> Group:
    values = {field.name: row[field.name] for field in fields(Group) if field.name != "hours"}
    hours = [row[f"hour{number}"] for number in range(HOURS)]
    shown = {"message": mask_text(values["message"]), "application": names[values["application"]]}
    return Group(**{**values, **shown}, hours=hours)


def find(task_id: str, visible: Visible = None) -> Letter | None:
    """Return the dead letter of the task that an id names, in two or three queries, or None if the caller may see none."""
    meant = Selection(task_ids=list(keys_meant(task_id)), visible=visible).query()
    letters = {letter.task_id: letter for letter in meant.select_related("task")}
    if not letters:
        return None
    best = best_of(task_id, {*letters}, {key: letter.application_id for key, letter in letters.items()})
    return _with_replays([letters[best]])[0] if best else None


def keys_named(ids: Sequence[str], application: str = "", visible: Visible = None) -> list[UUID]:
    """Return for each id the key of the task that it names, of those with a dead letter; one query.

    Args:
        ids: Celery's ids or keys of rows.
        application: the name of the application to which the tasks belong. Without it, Zenith's own comes first, as everywhere.
        visible: the names of the applications that the caller may see.
    """
    candidates = [keys_meant(id_) for id_ in ids]
    meant = Selection(task_ids=list(set().union(*candidates)), application=application, visible=visible)
    letters = meant.query() if ids else DeadLetter.objects.none()
    owners = dict(letters.order_by().values_list("task_id", "application_id"))
    # For an id that names none, a key without a letter.
    return [best_of(id_, keys & owners.keys(), owners) or key_meant(id_) for id_, keys in zip(ids, candidates, strict=True)]


def _with_replays(letters: Sequence[DeadLetter]) -> list[Letter]:
    replays = replays_of(letter.task_id for letter in letters)
    names = names_by_id(letter.application_id for letter in letters)
    return [Letter(letter, replays.get(letter.task_id, []), names[letter.application_id]) for letter in letters]


def traceback_of(letter: DeadLetter) -> str:
    """Return the traceback of a letter's failure, with secrets masked."""
    rows: Any = letter.task.attempts.order_by("-attempt", "-delivery").values_list("traceback", flat=True)
    return mask_text(rows.first() or "")


def newest_traceback(fingerprint: str) -> str:
    """Return the traceback of a group's newest failure, with secrets masked, in one query."""
    newest = Attempt.objects.filter(task__dead_letter__fingerprint=fingerprint)
    rows = newest.order_by("-task__dead_letter__id", "-attempt", "-delivery").values_list("traceback", flat=True)
    return mask_text(rows.first() or "")


def outcomes(fingerprints: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each group how many of its replacement tasks are in each status, in one query."""
    counts: dict[str, dict[str, int]] = {name: {} for name in fingerprints}
    rows = Task.objects.filter(replay_of__dead_letter__fingerprint__in=fingerprints).order_by()
    for name, status, count in rows.values_list("replay_of__dead_letter__fingerprint", "status").annotate(Count("id")):
        if name is not None:
            counts[name][status] = count
    return counts


@dataclass(frozen=True, slots=True)
class Aged:
    """How many open letters of one exception are in each of the AGES, in their order."""

    error_type: str
    counts: list[int]


def by_age(task: str, application: str = "", visible: Visible = None) -> list[Aged]:
    """Return the exceptions with the most open letters, by age, in one query; only those of a task or application if given."""
    now = timezone.now()
    rows = (
        DeadLetterFilter(task=task, application=application, state=LetterState.OPEN)
        .limited_to(visible)
        ._query()
        .order_by()
        .values_list("error_type")
        .annotate(**{f"age_{age}": Count("id", filter=_of_age(age, now)) for age in AGES}, number=Count("id"))
        .order_by("-number", "error_type")[:MOST_BY_AGE]
    )
    return [Aged(row[0], list(row[1:-1])) for row in rows]


def _of_age(age: str, now: datetime) -> Q:
    names = list(AGES)
    older = Q() if age == names[-1] else Q(created_at__gt=now - AGES[age])
    return older if age == names[0] else older & Q(created_at__lte=now - AGES[names[names.index(age) - 1]])


def any_at_all(visible: Visible = None) -> bool:
    """Return whether there are any dead letters that the caller may see."""
    return Selection(visible=visible).query().exists()
