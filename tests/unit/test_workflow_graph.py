"""The graph of a workflow: what is planned, what leads to what, what is folded, and what the whole says in figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery import chord, group
from celery.canvas import chunks, xmap, xstarmap

from tasks_app.workflows import folding, graph, layout, outline
from tasks_app.workflows.graph import Edge, Graph, Kind, Node, graph_of
from tasks_app.workflows.signatures import Planner
from tasks_app.workflows.status import WorkflowStatus
from tests.canvases import APP, Message, sent, sig
from tests.workflows import NOW, member, read
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status


def shape(found: Graph) -> set[str]:
    """The edges in words, by the parts' names."""
    name = {key: node.name for key, node in found.nodes.items()}
    return {f"{name[edge.before]} {edge.kind} {name[edge.after]}" for edge in found.edges}


def names(found: Graph) -> list[str]:
    return sorted(node.name for node in found.nodes.values())


CANVASES: dict[str, tuple[Any, set[str]]] = {
    "chain": (sig("a") | sig("b") | sig("c"), {"a next b", "b next c"}),
    "group": (group(sig("a"), sig("b")), set()),
    "chord": (chord([sig("a"), sig("b")], sig("c")), {"a join c", "b join c"}),
    "chord of chains": (
        chord([sig("a") | sig("b"), sig("c") | sig("d")], sig("e")), {"a next b", "c next d", "b join e", "d join e"},
    ),
    "body is a chain": (chord([sig("a"), sig("b")], sig("c") | sig("d")), {"a join c", "b join c", "c next d"}),
    "body is a group": (chord([sig("a"), sig("b")], group(sig("c"), sig("d"))), {"a join c", "b join c", "a join d", "b join d"}),
    "group in a chain": (sig("a") | group(sig("b"), sig("c")), {"a next b", "a next c"}),
    "group before a task": (
        sig("a") | group(sig("b"), sig("c")) | sig("d"), {"a next b", "a next c", "b join d", "c join d"},
    ),
    "nested groups": (chord([group(sig("a"), sig("b")), sig("c")], sig("d")), {"a join d", "b join d", "c join d"}),
    "chord in a chord": (
        chord([chord([sig("a"), sig("b")], sig("c")), sig("d")], sig("e")), {"a join c", "b join c", "c join e", "d join e"},
    ),
    "chord in a chain": (
        sig("a") | chord([sig("b"), sig("c")], sig("d")) | sig("e"),
        {"a next b", "a next c", "b join d", "c join d", "d next e"},
    ),
    "callback": (sig("a").set(link=sig("c")), {"a callback c"}),
    "callback in a chain": (sig("a") | sig("b").set(link=sig("c")), {"a next b", "b callback c"}),
    "errback": ((sig("a") | sig("b")).on_error(sig("e")), {"a next b"}),
    "map": (sig("a") | xmap(sig("b"), [1, 2], app=APP), {"a next celery.map of b"}),
    "starmap": (sig("a") | xstarmap(sig("b"), [(1,), (2,)], app=APP), {"a next celery.starmap of b"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CANVASES)
def test_what_is_planned_stands_there_once_the_first_part_is_sent(name: str) -> None:
    canvas, expected = CANVASES[name]
    found = graph_of(read(sent(canvas)))
    assert shape(found) == expected
    assert not found.unknown
    assert not found.more


def test_chunks_are_a_group_of_maps() -> None:
    found = graph_of(read(sent(chunks(sig("b"), [(1,), (2,), (3,)], 2, app=APP).group())))
    assert names(found) == ["celery.starmap", "celery.starmap"]
    assert len({node.group for node in found.nodes.values()}) == 1


def test_errbacks_are_named_and_not_counted() -> None:
    found = graph_of(read(sent((sig("a") | sig("b")).on_error(sig("e")))))
    assert (found.if_fails, names(found)) == (("e",), ["a", "b"])


def test_steps_that_were_sent_are_the_same_parts() -> None:
    """Their rows take the place of what was planned, and say themselves after what they were sent."""
    (first,) = sent(sig("a") | sig("b") | sig("c"))
    (second, third) = first.embed["chain"][::-1]
    embedded = {"headers": {"root_id": first.id}, "embed": {"chain": [third]}}
    step = Message(second["options"]["task_id"], "b", embedded)
    workflow = read([first, step], {"a": Status.SUCCESS})
    tasks = [workflow.tasks[0], replace(workflow.tasks[1], parent_id=workflow.tasks[0].id)]
    found = graph_of(replace(workflow, tasks=tasks))
    assert shape(found) == {"a next b", "b next c"}
    assert len(found.nodes) == 3


def test_a_chords_body_that_runs_is_joined_by_all_parts_and_not_sent_by_the_last() -> None:
    messages = sent(chord([sig("a"), sig("b")], sig("c")))
    body = messages[0].embed["chord"]["options"]["task_id"]
    workflow = read(messages, dict.fromkeys("ab", Status.SUCCESS))
    ended = member(Message(body, "c", {"headers": {"root_id": messages[1].id}}), parent_id=workflow.tasks[1].id)
    assert shape(graph_of(replace(workflow, tasks=[*workflow.tasks, ended]))) == {"a join c", "b join c"}


def test_a_task_sends_others_and_one_is_run_again() -> None:
    (first,) = sent(sig("a"))
    parent = member(first)
    child = member(Message("child", "b", {"headers": {"root_id": first.id}}), Status.FAILURE, parent_id=parent.id)
    again = member(Message("again", "b", None), root_id=parent.id, replay_of_id=child.id)
    workflow = replace(read([first], {"a": Status.SUCCESS}), tasks=[parent, child, again])
    found = graph_of(workflow)
    assert shape(found) == {"a sends b", "b replay b"}
    assert outline.outline(found, NOW, NOW).status == WorkflowStatus.SUCCEEDED, "what failed was run again"


def test_what_was_planned_after_a_task_follows_the_one_in_its_place() -> None:
    (first,) = sent(sig("a") | sig("b"))
    (again,) = sent(sig("a") | sig("b"))
    old = read([first], {"a": Status.FAILURE})
    new = read([again], {"a": Status.QUEUED})
    replay = replace(new.tasks[0], replay_of_id=old.tasks[0].id)
    found = graph_of(replace(old, tasks=[*old.tasks, replay], told={**old.told, **new.told}))
    assert shape(found) == {"a replay a", "a next b"}
    assert names(found) == ["a", "a", "b"]


def test_a_task_that_replaced_itself_with_a_group() -> None:
    """The body of its chord has the task's own id."""
    parts = sent(chord([sig("b"), sig("c")], sig("a")), root_id="a", task_id="a")
    task = replace(member(Message("a", "a", None), Status.REPLACED), position=0)
    children = [replace(item, parent_id=task.id) for item in read(parts).tasks]
    found = graph_of(replace(read(parts), tasks=[task, *children]))
    assert shape(found) == {"a replaced b", "a replaced c"}


def test_odd_rows_make_no_cycle() -> None:
    one, two = member(Message("1", "a", None)), member(Message("2", "b", None))
    tasks = [replace(one, parent_id=two.id), replace(two, parent_id=one.id)]
    found = graph_of(replace(read(sent(sig("a"))), tasks=tasks, told={}))
    assert len(found.edges) == 1


def test_what_follows_is_unknown_for_watched_applications_and_odd_messages() -> None:
    messages = sent(sig("a"))
    assert graph_of(read(messages, watched=True)).unknown
    opaque = [Message(messages[0].id, "a", {"headers": {}, "embed": {}, "opaque": True})]
    workflow = read(opaque)
    told = {id_: replace(item, opaque=True) for id_, item in workflow.told.items()}
    assert graph_of(replace(workflow, told=told)).unknown


@pytest.mark.parametrize(
    "embed",
    [
        {"chain": 7, "callbacks": "x", "errbacks": {"task": 3}},
        {"chain": [None, {"task": []}, {"subtask_type": "chord", "kwargs": {"header": 7, "body": []}}]},
        {"chain": [{"subtask_type": "group", "kwargs": {"tasks": {"a": 1}}}], "callbacks": [3]},
        {"chain": [{"task": "t", "options": {"task_id": 7, "chord": 3, "link": [{}], "group_index": 1, "group_id": {}}}]},
    ],
)
def test_odd_signatures_are_read_as_far_as_they_tell(embed: dict[str, Any]) -> None:
    planner = Planner(lambda id_: str(key_of(id_)), most=10, most_edges=10)
    planner.follow("x", embed)
    assert not planner.more


def test_planned_parts_are_bounded() -> None:
    steps = [{"task": f"t{number}", "options": {"task_id": f"{number}"}} for number in range(30)]
    planner = Planner(lambda id_: id_, most=10, most_edges=1000)
    planner.follow("x", {"chain": steps})
    assert (len(planner.parts), planner.more) == (10, True)
    wide = {"subtask_type": "group", "kwargs": {"tasks": steps}}
    planner = Planner(lambda id_: id_, most=1000, most_edges=50)
    planner.follow("x", {"chain": [wide, wide]})
    assert planner.more
    assert sum(len(part.after) for part in planner.parts.values()) <= 50
    deep: dict[str, Any] = {"task": "t"}
    for _ in range(300):
        deep = {"subtask_type": "chain", "kwargs": {"tasks": [deep]}}
    planner = Planner(lambda id_: id_, most=10, most_edges=10)
    planner.follow("x", {"chain": [deep]})
    assert planner.more


# --- Folding ---


def wide_chord(parts: int) -> list[Message]:
    return sent(chord([sig("a") | sig("b") for _ in range(parts)], sig("c")))


def test_parts_that_are_alike_are_one_box_with_the_steps_after_them() -> None:
    found = graph_of(read(wide_chord(40)))
    folds = folding.folded(found)
    assert [(box.name, len(box.nodes)) for box in folds.boxes] == [("a", 40), ("b", 40), ("c", 1)]
    assert [edge.kind for edge in folds.edges] == [Kind.NEXT, Kind.JOIN]
    assert folds.boxes[0].counts == {"QUEUED": 40}
    assert folds.boxes[1].status == folding.PLANNED
    assert folds.box_of[folds.boxes[0].nodes[-1].key] is folds.boxes[0]


def test_few_parts_have_boxes_of_their_own() -> None:
    folds = folding.folded(graph_of(read(wide_chord(3))))
    assert [box.is_fold for box in folds.boxes] == [False] * 7


def test_one_failure_is_what_a_box_shows() -> None:
    workflow = read(wide_chord(20), {"a": Status.SUCCESS})
    tasks = [replace(workflow.tasks[0], status=Status.FAILURE), *workflow.tasks[1:]]
    box = folding.folded(graph_of(replace(workflow, tasks=tasks))).boxes[0]
    assert (box.status, box.finished) == (Status.FAILURE, 20)


# --- Layout ---


def test_every_edge_leads_to_the_right_and_nothing_overlaps() -> None:
    folds = folding.folded(graph_of(read(sent(CANVASES["chord in a chain"][0]))))
    keys = [box.key for box in folds.boxes]
    placed = layout.layout(keys, folds.edges)
    assert all(placed.places[edge.before][0] < placed.places[edge.after][0] for edge in folds.edges)
    assert len(set(placed.places.values())) == len(keys)
    assert list(placed.columns) == [1, 2, 1, 1]
    assert layout.layout(keys, folds.edges) == placed


def test_boxes_stand_beside_what_leads_to_them() -> None:
    edges = [Edge("a", "y", Kind.NEXT), Edge("b", "x", Kind.NEXT)]
    placed = layout.layout(["a", "b", "x", "y"], edges)
    assert placed.places["y"][1] == placed.places["a"][1]
    assert placed.places["x"][1] == placed.places["b"][1]


def test_a_layout_of_nothing() -> None:
    assert layout.layout([], []).columns == []


def test_keys_in_order_include_those_of_a_cycle() -> None:
    edges = [Edge("a", "b", Kind.SENDS), Edge("b", "c", Kind.SENDS), Edge("c", "b", Kind.SENDS)]
    assert graph.in_order(["c", "b", "a"], edges) == ["a", "c", "b"]


# --- Figures ---


def test_a_failure_says_what_it_blocked_and_progress_counts_what_is_planned() -> None:
    workflow = read(sent(chord([sig("a") | sig("b"), sig("c")], sig("d"))), {"a": Status.FAILURE, "c": Status.SUCCESS})
    figures = outline.outline(graph_of(workflow), NOW, NOW)
    assert (figures.status, figures.total, figures.finished, figures.planned) == (WorkflowStatus.FAILED, 4, 2, 2)
    (failure,) = figures.failures
    assert (failure.member.name, failure.blocked, failure.in_chord, failure.replayed_by) == ("a", 2, False, None)


def test_what_fails_because_of_another_failure_is_not_named() -> None:
    (first,) = sent(sig("a") | sig("b"))
    later = first.embed["chain"][0]["options"]["task_id"]
    skipped = member(Message(later, "b", {"headers": {"root_id": first.id}}), Status.REVOKED)
    figures = outline.outline(graph_of(read([first], {"a": Status.FAILURE}, [skipped])), NOW, NOW)
    assert [(failure.member.name, failure.blocked) for failure in figures.failures] == [("a", 1)]
    assert figures.counts == {"FAILURE": 1, "REVOKED": 1}


def test_the_critical_path_is_the_one_whose_tasks_ran_longest() -> None:
    messages = sent(chord([sig("quick"), sig("slow")], sig("body")))
    workflow = read(messages)
    quick, slow = workflow.tasks
    tasks = [
        replace(quick, status=Status.SUCCESS, finished_at=NOW + timedelta(seconds=1)),
        replace(slow, status=Status.STARTED),
    ]
    found = graph_of(replace(workflow, tasks=tasks))
    figures = outline.outline(found, NOW, NOW + timedelta(seconds=9))
    assert [found.nodes[key].name for key in figures.critical] == ["slow"]
    assert figures.critical_seconds == 9
    assert figures.finished_at is None


def test_the_outline_of_an_empty_workflow() -> None:
    figures = outline.outline(Graph(), NOW, NOW)
    assert (figures.total, figures.critical, figures.created_at, figures.name) == (0, [], NOW, "")
    assert folding.folded(Graph(nodes={"x": Node("x", "")})).boxes[0].status == folding.PLANNED
