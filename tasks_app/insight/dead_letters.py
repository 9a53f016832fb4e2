"""The dead letters: in groups of failures that belong together, one by one, and one in full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks_app.insight.lineage import replays_of
from tasks_app.insight.tasks import DEFAULT_LIMIT, MAX_LIMIT, FilterText
from tasks_app.models import DeadLetter
from tasks_app.models.dead_letter import LetterState, Selection
from zenith_site.common.masking import mask_text

_MOST: Final = 2**63 - 1
#: Hours that the small drawing of a group covers.
HOURS: Final = 24
_State = Annotated[LetterState | None, BeforeValidator(lambda value: value or None)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Failures that belong together.

    `newest` is the id of its newest letter, by which groups are ordered; `hours` how many letters each of the last HOURS brought,
    oldest first, the running one last.
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


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, with its task, and the tasks that were sent in its place, oldest first."""

    letter: DeadLetter
    replayed_by: list[UUID]


@dataclass(frozen=True)
class LetterPage:
    """Some letters, newest first, and the filter that continues after them, if there are more."""

    letters: list[Letter]
    following: "DeadLetterFilter | None"


@dataclass(frozen=True)
class GroupPage:
    """Some groups, that with the newest failure first, and the filter that continues after them."""

    groups: list[Group]
    following: "DeadLetterFilter | None"


class DeadLetterFilter(BaseModel):
    """Which dead letters to list. Owns the queries and the links, for the pages and the API alike.

    Pages go by key. Of groups, the key is the newest letter: a group that fails again while
    somebody reads moves to the front, and is read again from there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to go on; taken from the `Link` of a page.")
    state: _State = Field(
        default=None,
        description="Only letters in this state. " + " ".join(f"`{state.value}`: {state.sentence}" for state in LetterState),
    )
    group: FilterText = Field(default="", description="Only letters of this group.")
    task: FilterText = Field(default="", description="Only letters of tasks of this name.")
    error: FilterText = Field(default="", description="Only letters of this exception, such as `ValueError`.")

    def page(self) -> LetterPage:
        """Return letters and their replays, in two queries."""
        query = self._query().select_related("task").defer("task__args", "task__kwargs").order_by("-id")
        if self.cursor:
            query = query.filter(id__lt=self.cursor)
        found = list(query[: self.limit + 1])
        letters = found[: self.limit]
        following = self._after(letters[-1].id) if len(found) > self.limit else None
        return LetterPage(_with_replays(letters), following)

    def groups(self) -> GroupPage:
        """Return groups, in one query: the letters are few, since they are pruned."""
        query = (
            self._query()
            .order_by()
            .values("fingerprint")
            .annotate(
                task_name=Max("task_name"), error_type=Max("error_type"), message=Max("message"), frame=Max("frame"),
                count=Count("id"), open=Count("id", filter=Q(state=LetterState.OPEN)),
                first_at=Min("created_at"), last_at=Max("created_at"), newest=Max("id"), **_by_hour(),
            )
            .order_by("-newest")
        )  # fmt: skip
        if self.cursor:
            query = query.filter(newest__lt=self.cursor)
        found = [_group(row) for row in query[: self.limit + 1]]
        groups = found[: self.limit]
        following = self._after(groups[-1].newest) if len(found) > self.limit else None
        return GroupPage(groups, following)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _after(self, id_: int) -> "DeadLetterFilter":
        return self.model_copy(update={"cursor": id_})

    def _query(self) -> QuerySet[DeadLetter]:
        which = Selection(fingerprint=self.group, task_name=self.task, error_type=self.error)
        return which.query().filter(state=self.state) if self.state else which.query()


def _by_hour() -> dict[str, Count]:
    running = timezone.now().replace(minute=0, second=0, microsecond=0)
    starts = [running - timedelta(hours=HOURS - 1 - number) for number in range(HOURS)]
    return {
        f"hour{number}": Count("id", filter=Q(created_at__gte=start, created_at__lt=start + timedelta(hours=1)))
        for number, start in enumerate(starts)
    }


def _group(row: Mapping[str, Any]) -> Group:
    values = {field.name: row[field.name] for field in fields(Group) if field.name != "hours"}
    hours = [row[f"hour{number}"] for number in range(HOURS)]
    return Group(**{**values, "message": mask_text(values["message"])}, hours=hours)


def find(task_id: UUID) -> Letter | None:
    """Return the dead letter of one task, in two queries; None where it has none."""
    letter = DeadLetter.objects.select_related("task").filter(task_id=task_id).first()
    return None if letter is None else _with_replays([letter])[0]


def _with_replays(letters: Sequence[DeadLetter]) -> list[Letter]:
    replays: dict[UUID, list[UUID]] = replays_of(letter.task_id for letter in letters)
    return [Letter(letter, replays.get(letter.task_id, [])) for letter in letters]


def traceback_of(letter: DeadLetter) -> str:
    """Return the traceback of the failure that wrote a letter, without secrets."""
    rows: Any = letter.task.attempts.order_by("-attempt", "-delivery").values_list("traceback", flat=True)
    return mask_text(rows.first() or "")


def state_counts(which: Selection) -> dict[str, int]:
    """Return how many letters of a selection are in which state, in one query: letters are few, since they are pruned."""
    return dict(which.query().order_by().values_list("state").annotate(Count("id")))


def any_at_all() -> bool:
    """Whether there is any dead letter."""
    return DeadLetter.objects.exists()
