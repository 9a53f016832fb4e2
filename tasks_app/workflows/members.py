"""The tasks of a workflow, and what their messages say of others; a bounded number of each, in three queries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from tasks_app.models import Application, Workflow
from tasks_app.models.application import NATIVE_ID, Visible, of_visible
from zenith_site.common.masking import mask_text
from zenith_site.common.sql import statements
from zenith_worker.wire.states import OPEN, TERMINAL, Status, attempt_of, nesting_of

#: Tasks of one workflow that are read.
MOST: Final = 10_000
#: Workflows within each other: a group's parts, and what was sent in place of those.
DEPTH: Final = 8
_SQL: Final = statements(__file__)
_TOP: Final = _SQL["top_of_task"].format(depth=DEPTH)
_MEMBERS: Final = _SQL["members"].format(depth=DEPTH, error=300)
#: Bytes of what one message says of others, and of all together.
_MESSAGES: Final = _SQL["messages"].format(longest=50_000, total=8_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A task of a workflow, as its row shows it."""

    id: UUID
    text_id: str
    name: str
    queue: str
    status: Status
    position: int
    worker: str
    parent_id: UUID | None
    root_id: UUID | None
    group_id: UUID | None
    replay_of_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_type: str
    error_message: str

    @property
    def celery_id(self) -> str:
        """The task's id in Celery."""
        return self.text_id or str(self.id)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in OPEN

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, with any outcome."""
        return self.status in TERMINAL

    @property
    def attempt(self) -> int:
        """The number of the current or last run, from 1."""
        return attempt_of(self.position) + 1

    @property
    def was_replaced(self) -> bool:
        """Whether its body sent other tasks in its place."""
        return nesting_of(self.position) > 0 or self.status == Status.REPLACED

    @property
    def error(self) -> str:
        """What it failed with, masked; empty if it did not."""
        text = f"{self.error_type}: {self.error_message}" if self.error_message else self.error_type
        return mask_text(text) if self.status == Status.FAILURE else ""

    def seconds(self, now: datetime) -> float:
        """Return for how long its last run took, or takes by now."""
        if self.started_at is None:
            return 0.0
        return max(0.0, ((self.finished_at or now) - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Told:
    """What a task's message says of others.

    Attributes:
        next_id: Celery's id of the next step of its chain; None if there is none, or if it is several tasks.
        next_name: the name of its task, if it is one.
        next_kind: what the next step is if it is no task, such as "group".
        has_chord: whether it is a part of a chord.
        opaque: whether its arguments are not JSON, so that nothing else is known of its message.
        cut: whether what follows was too long to be read.
        embed: what follows it, other than the body of its chord, unless it has succeeded.
        chord: the signature of that body, of one part for each group.
    """

    next_id: str | None = None
    next_name: str | None = None
    next_kind: str | None = None
    has_chord: bool = False
    opaque: bool = False
    cut: bool = False
    embed: dict[str, Any] | None = None
    chord: dict[str, Any] | None = None


@dataclass(frozen=True)
class Members:
    """A workflow with its tasks, oldest first, and their messages by id. `more`: there are others that were not read."""

    workflow: Workflow
    application: Application
    tasks: Sequence[Member]
    told: dict[UUID, Told]
    more: bool

    def open_ids(self) -> list[UUID]:
        """Return the ids of the tasks that have not ended."""
        return sorted(task.id for task in self.tasks if task.is_open)


_COLUMNS: Final = [field.name for field in fields(Member)]


def top_of(task_or_workflow: UUID) -> UUID:
    """Return the id of the workflow that a task, or a part that has its own parts, belongs to; else the same id. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_TOP, {"id": task_or_workflow})
        row = cursor.fetchone()
    return row[0] if row else task_or_workflow


def members(workflow_id: UUID, visible: Visible = None) -> Members | None:
    """Return a workflow that the caller may see with its tasks; None for an unknown one. Four queries."""
    workflow = Workflow.objects.filter(of_visible(visible), id=workflow_id).first()
    if workflow is None:
        return None
    owner = workflow.application_id or NATIVE_ID
    application = Application.native() if owner == NATIVE_ID else Application.objects.get(id=owner)
    parameters: dict[str, Any] = {"id": workflow.id, "application": owner, "most": MOST + 1}
    with connection.cursor() as cursor:
        cursor.execute(_MEMBERS, parameters)
        rows = [_member(row) for row in cursor.fetchall()]
        tasks = rows[:MOST]
        cursor.execute(_MESSAGES, {"ids": [task.id for task in tasks]})
        told = {row[0]: _told(row) for row in cursor.fetchall()}
    return Members(workflow, application, tasks, told, more=len(rows) > MOST)


def _member(row: Sequence[Any]) -> Member:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Member(**{**values, "status": Status(values["status"])})


def _told(row: Sequence[Any]) -> Told:
    _, next_id, next_name, next_kind, has_chord, opaque, cut, embed, chord = row
    return Told(next_id, next_name, next_kind, has_chord, opaque, cut, _object(embed), _object(chord))


def _object(text: str | None) -> dict[str, Any] | None:
    value = None if text is None else json.loads(text)
    return value if isinstance(value, dict) else None
