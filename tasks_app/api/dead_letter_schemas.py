"""What the dead letters' API takes and gives."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks_app.api.schemas import Cut, TaskId, cut_of, read_id
from tasks_app.dispatch.replay import MAX_FIRST, MAX_NOTE, MAX_RATE, Replay, Replayed
from tasks_app.models import ReplayRun
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.models.replay_run import RunState
from tasks_app.queries.arguments import preview
from tasks_app.queries.dead_letters import Group, Letter, traceback_of
from tasks_app.search.parameters import FilterText, storable
from zenith_site.common.previews import SHOWN, SHOWN_ALONE, shorten_text

#: Letters that can be named one by one in one request.
MAX_IDS = 1000

_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in LetterState)
_RUN_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in RunState)


class Choice(BaseModel):
    """Which dead letters are meant: exactly one of `ids`, `group` and `all`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[Annotated[UUID, BeforeValidator(read_id)]] | None = Field(
        default=None, min_length=1, max_length=MAX_IDS, description="Those of the tasks with these ids."
    )
    group: Annotated[FilterText, Field(min_length=1)] | None = Field(
        default=None, description="Those of this group that are open."
    )
    all: bool = Field(default=False, description="All that are open, but for what `task` and `error` leave out.")
    task: FilterText = Field(default="", description="Only those of tasks of this name.")
    error: FilterText = Field(default="", description="Only those of this exception.")

    @model_validator(mode="after")
    def _one_way(self) -> "Choice":
        if (self.ids is not None) + (self.group is not None) + self.all != 1:
            raise ValueError("say which: exactly one of `ids`, `group` and `all`")
        return self

    def selection(self) -> Selection:
        """Return this as what dispatch/replay.py takes."""
        ids = None if self.ids is None else tuple(dict.fromkeys(self.ids))
        return Selection(task_ids=ids, fingerprint=self.group or "", task_name=self.task, error_type=self.error)


class ReplayRequest(Choice):
    """What to replay, and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"group": "9f8c2d41a07be563", "first": 3, "rate": 10}]})

    args: list[Any] | None = Field(
        default=None, description="Instead of all arguments that were sent by position; for one letter only."
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Instead of the arguments of these names, for every letter.")
    first: int = Field(
        default=0,
        description="So many first; the rest only if all of these succeed.",
        json_schema_extra={"minimum": 0, "maximum": MAX_FIRST},
    )
    rate: float | None = Field(
        default=None,
        description="Tasks per second at most.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": MAX_RATE},
    )
    forced: bool = Field(default=False, description="Also what was replayed or discarded before.")

    def to_replay(self) -> Replay:
        """Return this as what replay() takes."""
        return Replay(
            which=self.selection(), args=self.args, kwargs=self.kwargs, first=self.first, rate=self.rate,
            forced=self.forced,
        )  # fmt: skip


class DiscardRequest(Choice):
    """What to discard, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"group": "9f8c2d41a07be563", "note": "Fixed in release 4.2."}]})

    note: Annotated[str, AfterValidator(storable)] = Field(
        default="", description="For whoever wonders later.", json_schema_extra={"maxLength": MAX_NOTE}
    )


class DiscardAnswer(BaseModel):
    """What was discarded."""

    discarded: int


class RunAnswer(BaseModel):
    """A replay of many, which the engine works off."""

    run_id: UUID
    state: RunState = Field(description=_RUN_STATES)
    reason: str
    total: int = Field(description="Dead letters that were meant when it began.")
    replayed: int
    first: int
    rate: float | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, run: ReplayRun) -> "RunAnswer":
        """Return the answer for a run."""
        return cls.model_construct(
            run_id=run.id, state=RunState(run.state), reason=run.reason, total=run.total,
            replayed=run.replayed, first=run.first, rate=run.rate, created_at=run.created_at,
            finished_at=run.finished_at,
        )  # fmt: skip


class Replacement(BaseModel):
    """A new task in the place of a dead one."""

    task_id: UUID
    replay_of: UUID


class ReplayAnswer(BaseModel):
    """What was replayed, or the run that does it."""

    replayed: int
    passed_over: int = Field(description="Letters that were replayed or discarded before.")
    tasks: list[Replacement]
    run: RunAnswer | None = Field(description="Set where the engine does it: a few first, slowly, or very many.")

    @classmethod
    def of(cls, result: Replayed) -> "ReplayAnswer":
        """Return the answer for a replay."""
        return cls(
            replayed=len(result.done),
            passed_over=result.passed_over,
            tasks=[Replacement(task_id=item.new, replay_of=item.dead) for item in result.done],
            run=RunAnswer.of(result.run) if result.run else None,
        )


class GroupAnswer(BaseModel):
    """Failures that belong together: the same but for numbers, names and places."""

    group: str
    task_type: str
    error_type: str
    message: str = Field(description="What their messages have in common.")
    frame: str = Field(description="The innermost function of the project's own code.")
    count: int
    open: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, group: Group) -> "GroupAnswer":
        """Return the answer for a group."""
        return cls.model_construct(
            group=group.fingerprint, task_type=group.task_name, error_type=group.error_type, message=group.message,
            frame=group.frame, count=group.count, open=group.open, first_at=group.first_at, last_at=group.last_at,
        )  # fmt: skip


class DeadLetterAnswer(BaseModel):
    """One dead letter."""

    task_id: TaskId
    task_type: str
    queue: str
    group: str
    error_type: str
    error_message: str
    frame: str
    attempts: int
    created_at: datetime = Field(description="When it was recorded that the task gave up.")
    state: LetterState = Field(description=_STATES)
    resolved_at: datetime | None
    resolved_by: str | None
    note: str
    replayed_by: list[UUID] = Field(description="The tasks that were sent in its place, oldest first.")
    cut: Cut

    @classmethod
    def of(cls, found: Letter) -> "DeadLetterAnswer":
        """Return the answer for a letter."""
        return cls.model_construct(**_members(found))


class DeadLetterDetail(DeadLetterAnswer):
    """One dead letter, in full."""

    replay_of: UUID | None = Field(description="The dead task that this one itself was sent in place of.")
    args: list[Any]
    kwargs: dict[str, Any]
    traceback: str

    @classmethod
    def of(cls, found: Letter) -> "DeadLetterDetail":
        """Return the answer for a letter."""
        task = found.letter.task
        args, kwargs, cut = preview(task, SHOWN_ALONE)
        members = _members(found, SHOWN_ALONE)
        members["cut"] |= cut_of(task, {name: name for name in cut})
        return cls.model_construct(
            **members, replay_of=task.replay_of_id, args=args, kwargs=kwargs, traceback=traceback_of(found.letter)[-SHOWN_ALONE:],
        )  # fmt: skip


def _members(found: Letter, limit: int = SHOWN) -> dict[str, Any]:
    """Return what lists show. The values come from the database: none is checked again."""
    letter, task = found.letter, found.letter.task
    cut = {"error_message": "error"} if len(task.error_message) > limit else {}
    return {
        "task_id": task.celery_id, "task_type": letter.task_name, "queue": letter.queue, "group": letter.fingerprint,
        "error_type": letter.error_type, "error_message": shorten_text(task.error_message, limit), "frame": letter.frame,
        "attempts": task.attempt, "created_at": letter.created_at, "state": LetterState(letter.state),
        "resolved_at": letter.resolved_at, "resolved_by": letter.resolved_by or None, "note": letter.note,
        "replayed_by": [relative.id for relative in found.replayed_by], "cut": cut_of(task, cut),
    }  # fmt: skip
