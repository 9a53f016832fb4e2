"""Requests and responses of the dead-letter API."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks_app.api.schemas import Cut, GivenId, TaskId, cut_of
from tasks_app.dispatch.replay import MAX_FIRST, MAX_NOTE, MAX_RATE, Replay, Replayed
from tasks_app.models import ReplayRun
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.models.replay_run import RunState
from tasks_app.queries.arguments import preview
from tasks_app.queries.dead_letters import Group, Letter, keys_named, traceback_of
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.parameters import FilterText
from zenith_site.common.jsonsafe import require_storable
from zenith_site.common.previews import SHOWN, SHOWN_ALONE, shorten_text

#: Dead letters that one request can list by id.
MAX_IDS = 1000

_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in LetterState)
_RUN_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in RunState)


class Choice(LimitedFilter):
    """The dead letters to act on: exactly one of `ids`, `group` and `all`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[GivenId] | None = Field(
        default=None, min_length=1, max_length=MAX_IDS, description="The dead letters of the tasks with these ids."
    )
    group: Annotated[FilterText, Field(min_length=1)] | None = Field(
        default=None, description="The open dead letters of this group."
    )
    all: bool = Field(default=False, description="All open dead letters, narrowed by `task`, `error` and `application`.")
    task: FilterText = Field(default="", description="Only dead letters of tasks with this name.")
    error: FilterText = Field(default="", description="Only dead letters with this exception.")
    # Left out of a request's digest, as in schemas.py.
    application: FilterText = Field(
        default="",
        exclude_if=lambda name: not name,
        description="Only dead letters of the application with this name, to which `ids` then belong.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Choice":
        if (self.ids is not None) + (self.group is not None) + self.all != 1:
            raise ValueError("give exactly one of `ids`, `group` and `all`")
        return self

    def selection(self) -> Selection:
        """Return this as the selection that dispatch/replay.py takes; one query for `ids`."""
        ids = None if self.ids is None else tuple(dict.fromkeys(self.keys()))
        return Selection(
            task_ids=ids, fingerprint=self.group or "", task_name=self.task, error_type=self.error,
            application=self.application, visible=self._visible,
        )  # fmt: skip

    def keys(self) -> list[UUID]:
        """Return the key of the task that each of the `ids` names; one query."""
        return keys_named(self.ids or (), self.application, self._visible)


class ReplayRequest(Choice):
    """The dead letters to replay, and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"group": "9f8c2d41a07be563", "first": 3, "rate": 10}]})

    args: list[Any] | None = Field(
        default=None, description="Replaces all positional arguments; only if a single dead letter is selected."
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Replaces these keyword arguments, for every dead letter.")
    first: int = Field(
        default=0,
        description="Replay this many first, and the rest only if all of these succeed.",
        json_schema_extra={"minimum": 0, "maximum": MAX_FIRST},
    )
    rate: float | None = Field(
        default=None,
        description="The maximum number of tasks per second.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": MAX_RATE},
    )
    forced: bool = Field(default=False, description="Also replay dead letters that were already replayed or discarded.")

    def to_replay(self) -> Replay:
        """Return this as the request that replay() takes."""
        return Replay(
            selection=self.selection().exact(), args=self.args, kwargs=self.kwargs, first=self.first, rate=self.rate,
            forced=self.forced,
        )  # fmt: skip


class DiscardRequest(Choice):
    """The dead letters to discard, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"group": "9f8c2d41a07be563", "note": "Fixed in release 4.2."}]})

    note: Annotated[str, AfterValidator(require_storable)] = Field(
        default="", description="The reason, kept with the dead letters.", json_schema_extra={"maxLength": MAX_NOTE}
    )


class DiscardAnswer(BaseModel):
    """The number of discarded dead letters."""

    discarded: int


class RunAnswer(BaseModel):
    """A replay run: many dead letters that the engine replays in the background."""

    run_id: UUID
    state: RunState = Field(description=_RUN_STATES)
    reason: str
    total: int = Field(description="Number of dead letters selected when the run started.")
    replayed: int
    first: int
    rate: float | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, run: ReplayRun) -> "RunAnswer":
        """Return the response for a run."""
        return cls.model_construct(
            run_id=run.id, state=RunState(run.state), reason=run.reason, total=run.total,
            replayed=run.replayed, first=run.first, rate=run.rate, created_at=run.created_at,
            finished_at=run.finished_at,
        )  # fmt: skip


class Replacement(BaseModel):
    """A new task, and the dead one that it replaces."""

    task_id: UUID
    replay_of: UUID


class ReplayAnswer(BaseModel):
    """The dead letters that were replayed, or the run that replays them."""

    replayed: int
    passed_over: int = Field(description="Number of dead letters skipped because they were already replayed or discarded.")
    tasks: list[Replacement]
    run: RunAnswer | None = Field(description="Set if the engine replays them: with `first` or `rate`, or if there are many.")

    @classmethod
    def of(cls, result: Replayed) -> "ReplayAnswer":
        """Return the response for a replay."""
        return cls(
            replayed=len(result.done),
            passed_over=result.passed_over,
            tasks=[Replacement(task_id=item.new, replay_of=item.dead) for item in result.done],
            run=RunAnswer.of(result.run) if result.run else None,
        )


class GroupAnswer(BaseModel):
    """Failures with the same cause: they differ at most in numbers, names and places."""

    group: str
    application: str = Field(description="The name of the tasks' application; `zenith` is Zenith's own.")
    task_type: str
    error_type: str
    message: str = Field(description="The part that their messages have in common.")
    frame: str = Field(description="The innermost function of the project's own code.")
    count: int
    open: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, group: Group) -> "GroupAnswer":
        """Return the response for a group."""
        return cls.model_construct(
            group=group.fingerprint, application=group.application, task_type=group.task_name, error_type=group.error_type,
            message=group.message, frame=group.frame, count=group.count, open=group.open, first_at=group.first_at,
            last_at=group.last_at,
        )  # fmt: skip


class DeadLetterAnswer(BaseModel):
    """One dead letter."""

    task_id: TaskId
    application: str = Field(description="The name of the task's application; `zenith` is Zenith's own.")
    task_type: str
    queue: str
    group: str
    error_type: str
    error_message: str
    frame: str
    attempts: int
    created_at: datetime = Field(description="When the task's final failure was recorded.")
    state: LetterState = Field(description=_STATES)
    resolved_at: datetime | None
    resolved_by: str | None
    note: str
    replayed_by: list[UUID] = Field(description="The tasks that replace it, oldest first.")
    cut: Cut

    @classmethod
    def of(cls, item: Letter) -> "DeadLetterAnswer":
        """Return the response for a dead letter."""
        return cls.model_construct(**_members(item))


class DeadLetterDetail(DeadLetterAnswer):
    """One dead letter, in full."""

    replay_of: UUID | None = Field(description="The dead task that this task itself replaced.")
    args: list[Any]
    kwargs: dict[str, Any]
    traceback: str

    @classmethod
    def of(cls, item: Letter) -> "DeadLetterDetail":
        """Return the response for a dead letter."""
        task = item.letter.task
        args, kwargs, cut = preview(task, SHOWN_ALONE)
        members = _members(item, SHOWN_ALONE)
        members["cut"] |= cut_of(task, {name: name for name in cut})
        return cls.model_construct(
            **members, replay_of=task.replay_of_id, args=args, kwargs=kwargs, traceback=traceback_of(item.letter)[-SHOWN_ALONE:],
        )  # fmt: skip


def _members(item: Letter, limit: int = SHOWN) -> dict[str, Any]:
    """Return the values of a DeadLetterAnswer. They come from the database, so they are not validated again."""
    letter, task = item.letter, item.letter.task
    cut = {"error_message": "error"} if len(task.error_message) > limit else {}
    return {
        "task_id": task.celery_id, "application": item.application, "task_type": letter.task_name, "queue": letter.queue,
        "group": letter.fingerprint,
        "error_type": letter.error_type, "error_message": shorten_text(task.error_message, limit), "frame": letter.frame,
        "attempts": task.attempt, "created_at": letter.created_at, "state": LetterState(letter.state),
        "resolved_at": letter.resolved_at, "resolved_by": letter.resolved_by or None, "note": letter.note,
        "replayed_by": [relative.id for relative in item.replayed_by], "cut": cut_of(task, cut),
    }  # fmt: skip
