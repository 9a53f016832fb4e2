"""Which workflow a task belongs to, from the messages that Celery builds."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chord, group

from tasks_app.recording.workflows import membership
from tests.canvases import Message, sent, sig
from zenith_worker.wire.ids import key_of


def roots(messages: list[Message], application: str = "") -> set[str | None]:
    return {membership(message.id, message.extras, application).root for message in messages}


def test_a_single_task_belongs_to_none() -> None:
    (message,) = sent(sig("a"))
    assert membership(message.id, message.extras) == (None, None, None)


@pytest.mark.parametrize(
    "canvas",
    [sig("a") | sig("b"), sig("a").on_error(sig("e")) | sig("b"), sig("a").set(link=sig("c"))],
    ids=["chain", "with an errback", "callback"],
)
def test_the_first_task_of_a_chain_begins_one(canvas: Any) -> None:
    (message,) = sent(canvas)
    assert membership(message.id, message.extras) == (None, None, message.id)


def test_an_errback_alone_makes_none() -> None:
    (message,) = sent(sig("a").on_error(sig("e")))
    assert membership(message.id, message.extras).workflow is None


@pytest.mark.parametrize(
    ("canvas", "parts"),
    [
        (group(sig("a"), sig("b")), 2),
        (chord([sig("a"), sig("b")], sig("c")), 2),
        (chord([sig("a") | sig("b"), sig("c") | sig("d")], sig("e")), 2),
        (chord([sig("a"), sig("b")], sig("c") | sig("d")), 2),
        (group(chord([sig("a"), sig("b")], sig("c")), sig("d")), 3),
        (chord([chord([sig("a"), sig("b")], sig("c")), sig("d") | sig("e")], sig("f")), 3),
        (group(group(sig("a"), sig("b")), sig("c")), 3),
        (group(sig("a") | group(sig("b"), sig("c")) | sig("d"), sig("e")), 2),
    ],
    ids=["group", "chord", "chord of chains", "body is a chain", "chord in a group", "chord in a chord", "nested", "in a chain"],
)
def test_the_parts_of_a_group_have_one_root_in_common(canvas: Any, parts: int) -> None:
    messages = sent(canvas)
    (root,) = roots(messages)
    assert len(messages) == parts
    assert root is not None
    assert root not in {message.id for message in messages}
    assert {membership(message.id, message.extras).workflow for message in messages} == {root}


def test_what_a_task_sends_has_its_root() -> None:
    messages = sent(group(sig("a"), sig("b") | sig("c")), root_id="00000000-0000-4000-8000-000000000001")
    assert roots(messages) == {"00000000-0000-4000-8000-000000000001"}
    in_group = [membership(message.id, message.extras).group for message in messages]
    assert in_group[0] is not None
    assert in_group[1] is None, "its last step is the part"


def test_keys_are_of_the_application() -> None:
    assert membership("x", {"headers": {"root_id": "r"}}, "shop").root == str(key_of("r", "shop"))
    assert membership("r", {"headers": {"root_id": "r"}}, "shop").root is None
    assert membership("x", None, "shop", root="r") == (str(key_of("r", "shop")), None, str(key_of("r", "shop")))


@pytest.mark.parametrize(
    "extras",
    [
        {"headers": 7, "embed": "x"},
        {"headers": {"root_id": 7, "group": [], "group_index": {}}, "embed": {"chain": {"a": 1}, "chord": [1]}},
        {"headers": {}, "embed": {"chain": [7], "chord": {"subtask_type": "chain", "kwargs": {"tasks": [None]}}}},
        {"headers": {}, "embed": {"chord": {"subtask_type": "chord", "kwargs": {"body": {"options": 3}}}}},
        {"embed": {"chain": [{"options": {"chord": {"options": {"chord": 7, "group_id": 7}}}}]}},
    ],
)
def test_odd_messages_are_read_as_far_as_they_tell(extras: dict[str, Any]) -> None:
    found = membership("x", extras)
    assert (found.root, found.group) == (None, None)


def test_a_chord_without_end_is_not_followed_for_ever() -> None:
    body: dict[str, Any] = {"options": {"group_id": "deepest"}}
    for number in range(200):
        body = {"options": {"group_id": f"g{number}", "chord": body}}
    assert membership("x", {"embed": {"chord": body}}).root == str(key_of("g181"))
