"""Goes on with a chord after a failure: once every part has succeeded, its body is sent with their stored results.

Celery fails the body as soon as a part fails, and does not count what is sent in that part's place. So the body's dead letter is
replayed, with the list of results in the order of the header in front of its own arguments.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django_celery_results.models import TaskResult

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.models import Task, TaskMessage
from tasks_app.models.dead_letter import Selection
from tasks_app.models.task import result_id
from tasks_app.workflows.graph import Graph, Kind
from tasks_app.workflows.members import Member
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire.states import Status

#: Characters of JSON of one result: a longer one may have been cut when it was stored.
_LONGEST: Final = 1_000_000
#: Characters of all of them.
_LONGEST_ALL: Final = 10_000_000


def continuable(graph: Graph) -> dict[UUID, list[tuple[Member, Member]]]:
    """Return the failed bodies of chords whose parts have all succeeded by now, each part with the task that has its result."""
    before, latest = graph.before(), _latest(graph)
    bodies = {}
    for key, node in graph.nodes.items():
        body = node.member
        if body is None or body.status != Status.FAILURE or latest(body) is not body:
            continue
        parts = [graph.nodes[edge.before].member for edge in before[key] if edge.kind == Kind.JOIN]
        pairs = [(part, latest(part)) for part in parts if part is not None]
        if pairs and len(pairs) == len(parts) and all(last.status == Status.SUCCESS for _, last in pairs):
            bodies[body.id] = pairs
    return bodies


def run_body(graph: Graph, body_id: UUID, origin: Origin) -> UUID:
    """Send the body of a chord with the results of its parts; return the new task's id. Raises StateConflictError."""
    pairs = continuable(graph).get(body_id)
    if pairs is None:
        raise StateConflictError("Not all parts of this chord have succeeded, or its body was run again.")
    if settings.ZENITH_MASK_STORED:
        raise StateConflictError("ZENITH_MASK_STORED masks results when they are stored, so the body cannot get them.")
    signature, indexes = _told([part.id for part, _ in pairs])
    if signature.get("subtask_type") in ("chain", "group", "chord"):
        raise StateConflictError("The chord's body is not a single task, so it cannot be sent from here.")
    ordered = sorted(pairs, key=lambda pair: indexes.get(pair[0].id, 0))
    own = Task.objects.values_list("args", flat=True).get(id=body_id)
    args = own if signature.get("immutable") else [_results([last for _, last in ordered]), *own]
    replayed = replay(Replay(selection=Selection(task_ids=(body_id,)), args=args), origin)
    if not replayed.done:
        raise StateConflictError("The body was already run again or discarded.")
    return replayed.done[0].new


def _latest(graph: Graph) -> Callable[[Member], Member]:
    """Return a function that returns what was last sent in a task's place, or the task."""
    replays = {
        edge.before: new
        for edge in graph.edges
        if edge.kind == Kind.REPLAY and (new := graph.nodes[edge.after].member) is not None
    }

    def latest(member: Member) -> Member:
        # There are no cycles in a graph.
        while (following := replays.get(str(member.id))) is not None:
            member = following
        return member

    return latest


def _told(ids: Sequence[UUID]) -> tuple[Mapping[str, Any], dict[UUID, int]]:
    """Return the signature of a chord's body, and by part its index, as the parts' messages tell."""
    rows = TaskMessage.objects.filter(task_id__in=ids).values_list(
        "task_id", "extras__headers__group_index", "extras__embed__chord"
    )
    signature: Mapping[str, Any] = {}
    indexes = {}
    for id_, index, chord in rows:
        signature = chord if isinstance(chord, dict) else signature
        indexes[id_] = index if type(index) is int else 0
    if not signature:
        raise StateConflictError("The messages of the chord's parts do not say what its body is.")
    return signature, indexes


def _results(parts: Sequence[Member]) -> list[Any]:
    """Return the results of tasks. Raises StateConflictError if one is not stored, or too long."""
    keys = [result_id(part.id, part.text_id) for part in parts]
    stored = dict(TaskResult.objects.filter(task_id__in=set(keys)).values_list("task_id", "result"))
    if any(stored.get(key) is None for key in keys):
        raise StateConflictError("The result of a part is no longer stored.")
    texts = [str(stored[key]) for key in keys]
    if any(len(text) > _LONGEST for text in texts) or sum(map(len, texts)) > _LONGEST_ALL:
        raise StateConflictError("The results of the parts are too long to be sent from here.")
    return [json.loads(text) for text in texts]
