"""Members of workflows for tests: the rows that the messages of canvases would have, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tasks_app.models import Application, Workflow
from tasks_app.recording.workflows import membership
from tasks_app.workflows.members import Member, Members, Told
from tests.canvases import Message
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import TERMINAL, Status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def member(message: Message, status: Status = Status.SUCCESS, *, seconds: float = 1.0, **more: Any) -> Member:
    """Return the row of a task that a message asks for."""
    belongs = membership(message.id, message.extras)
    values: dict[str, Any] = {
        "id": key_of(message.id), "text_id": "", "name": message.name, "queue": "q", "status": status, "position": 0,
        "worker": "", "parent_id": None, "root_id": UUID(belongs.root) if belongs.root else None,
        "group_id": UUID(belongs.group) if belongs.group else None, "replay_of_id": None, "created_at": NOW,
        "started_at": NOW, "finished_at": NOW + timedelta(seconds=seconds) if status in TERMINAL else None,
        "error_type": "", "error_message": "",
    }  # fmt: skip
    return Member(**{**values, **more})


def told(message: Message, status: Status = Status.SUCCESS) -> Told:
    """Return what queries.sql reads of a message; the chord of each part, not only of one of each group."""
    embed = dict(message.embed)
    chord, last = embed.pop("chord", None), (embed.get("chain") or [{}])[-1]
    next_id = (last.get("options") or {}).get("task_id")
    return Told(
        next_id=next_id, next_name=last.get("task"), next_kind=last.get("subtask_type"), has_chord=chord is not None,
        embed=None if status == Status.SUCCESS else embed, chord=chord,
    )  # fmt: skip


def read(
    messages: Iterable[Message],
    statuses: Mapping[str, Status] | None = None,
    extra: Iterable[Member] = (),
    *,
    watched: bool = False,
) -> Members:
    """Return the workflow of these messages; `statuses` by name, QUEUED without one."""
    of = statuses or {}
    application = Application(id=1, name="zenith", kind="watched" if watched else "native")
    sent = [(message, of.get(message.name, Status.QUEUED)) for message in messages]
    tasks = [*(member(message, status) for message, status in sent), *extra]
    workflow = Workflow(id=tasks[0].root_id or tasks[0].id, application=application, created_at=NOW)
    return Members(
        workflow, application, tasks, {key_of(message.id): told(message, status) for message, status in sent}, more=False
    )
