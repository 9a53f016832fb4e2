"""Which workflow a task belongs to, as its message says.

Celery gives the steps of a chain, and what a task sends, the id of the first one as `root_id`. The parts of a group that no task
sent have no root in common, but what follows each of them tells the outermost group that it is a part of; that stands in for the
root. So a task's row points at its root, whose row may in turn point at a group, and nothing depends on the order of arrival.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.backends.utils import CursorWrapper

from tasks_app.models import Task, Workflow
from tasks_app.recording.arrays import column
from zenith_site.common.sql import statements
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE

#: Chords in chords that are followed to find the outermost group.
_MOST_NESTED: Final = 20
_INSERT: Final = statements(__file__)["insert_workflows"]
#: Parts of a message that say that other tasks follow (those of `errbacks` follow only a failure).
_FOLLOWERS: Final = ("chain", "chord", "callbacks")


class Membership(NamedTuple):
    """The keys of a task's root, of the group that it is a part of, and of the workflow that is known to exist by it."""

    root: str | None = None
    group: str | None = None
    workflow: str | None = None


def membership(
    celery_id: str,
    extras: Mapping[str, Any] | None,
    application: str = NATIVE,
    root: str | None = None,
    *,
    replaced: bool = False,
) -> Membership:
    """Return what a message tells of a task's workflow.

    `extras` are of wire/extras.py, from outside, and may hold anything. `root` is the root's id if it is told without them.
    `replaced`: the message replaces another one, and its group is not one that the task was a part of.
    """
    headers, embed = _object((extras or {}).get("headers")), _object((extras or {}).get("embed"))
    root = root or _text(headers.get("root_id"))
    part_of = _text(headers.get("group")) if headers.get("group_index") is not None else None
    if root is None or root == celery_id:
        root = None if replaced else _outermost_group(headers, embed)
    keys = [None if id_ is None else str(key_of(id_, application)) for id_ in (root, part_of)]
    workflow = keys[0]
    if workflow is None and follows(embed):
        workflow = str(key_of(celery_id, application))
    return Membership(keys[0], keys[1], workflow)


def follows(embed: Mapping[str, Any]) -> bool:
    """Return whether other tasks follow a task if it succeeds."""
    return any(embed.get(name) for name in _FOLLOWERS)


def note_workflows(cursor: CursorWrapper, workflows: Mapping[str, tuple[int, float]]) -> None:
    """Insert the workflows that have no row yet, with the application and the time (Unix, in seconds) of a task of each."""
    if workflows:
        rows = [(id_, *workflows[id_]) for id_ in sorted(workflows)]
        cursor.execute(_INSERT, [column(values) for values in zip(*rows, strict=True)])


def roots_of_replays(tasks: Iterable[Task]) -> dict[UUID, UUID]:
    """Return by task the root of what is sent in its place: of the same workflow, if the task belongs to one. One query."""
    dead = list(tasks)
    first = set(Workflow.objects.filter(id__in=[task.id for task in dead]).order_by().values_list("id", flat=True))
    return {task.id: task.root_id or task.id for task in dead if task.root_id or task.id in first}


def _outermost_group(headers: Mapping[str, Any], embed: Mapping[str, Any]) -> str | None:
    """Return the group of the last task that is known to follow, or the task's own.

    A chain is embedded in reverse. The last step of a chain that is a part of a group has the group and the chord's body among
    its options, and so has a body that is part of another group.
    """
    group = _text(headers.get("group"))
    step, body = _last(_list(embed.get("chain"))[:1]), embed.get("chord")
    for _ in range(_MOST_NESTED):
        if step:
            options = _object(step.get("options"))
            group, body = _text(options.get("group_id")) or group, options.get("chord")
        step = _last([body])
        if not step:
            break
    return group


def _last(signatures: list[Any]) -> Mapping[str, Any]:
    """Return the last task of the last signature; an empty one if there is none, or if they are several."""
    signature = _object(signatures[-1]) if signatures else {}
    for _ in range(_MOST_NESTED):
        kind, kwargs = signature.get("subtask_type"), _object(signature.get("kwargs"))
        if kind == "chain":
            tasks = _list(kwargs.get("tasks"))
            signature = _object(tasks[-1]) if tasks else {}
        elif kind == "chord":
            signature = _object(kwargs.get("body"))
        else:
            return {} if kind == "group" else signature
    return {}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
