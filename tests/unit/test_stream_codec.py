"""What is written to the stream is what is read from it, and nothing else is mistaken for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_worker.wire.events import OPAQUE, Event, UnreadableEntryError, decode, encode
from zenith_worker.wire.states import Status

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
times = st.floats(0, 4e9)
texts = st.text(st.characters(codec=None))
events = st.builds(
    Event,
    task_id=st.uuids().map(str), status=st.sampled_from(list(Status)), at=times,
    attempt=st.integers(0, 2**15), delivery=st.integers(0, 300), worker=texts, message=texts,
    received_at=st.none() | times, started_at=st.none() | times, not_before=st.none() | times, runtime=st.none() | times,
    result=st.none() | texts, traceback=st.none() | texts, error_type=texts, error_message=texts, meta=st.none() | texts,
    name=texts, queue=texts, args=st.none() | st.lists(json_values, max_size=3),
    kwargs=st.none() | st.dictionaries(st.text(), json_values, max_size=3), priority=st.none() | st.integers(0, 9),
    parent_id=st.none() | texts,
)  # fmt: skip


@given(st.lists(events, max_size=4))
def test_events_survive_the_stream_unchanged(written: list[Event]) -> None:
    assert decode(encode(written)) == written


def test_what_is_left_at_its_default_costs_nothing_on_the_wire() -> None:
    raw = encode([Event(task_id="t", status=Status.STARTED, at=1.5)])
    assert json.loads(raw) == [{"task_id": "t", "status": "STARTED", "at": 1.5}]


def test_one_that_is_not_json_leaves_those_that_travel_with_it_as_they_are() -> None:
    extras = {"headers": {"shadow": "known as"}, "embed": {}}
    innocent = Event(task_id="innocent", status=Status.PENDING, at=1.5, args=[1, {"a": 2}], kwargs={"b": 3}, extras=extras)
    odd = Event(task_id="odd", status=Status.PENDING, at=1.5, args=[object(), 4], kwargs={}, extras=extras)

    first, second = decode(encode([innocent, odd]))

    assert first == innocent
    assert second.extras == OPAQUE
    assert second.args is not None
    assert "object object" in second.args[0]
    assert second.args[1] == 4


GOOD = {"task_id": "t", "status": "STARTED", "at": 1.5}


def test_fields_of_a_newer_release_are_passed_over() -> None:
    """Engines are restarted before workers, but one may come back: what it does not know must not set the entry aside."""
    raw = json.dumps([{**GOOD, "of_the_future": {"deep": [1]}}]).encode()
    assert decode(raw) == [Event(task_id="t", status=Status.STARTED, at=1.5)]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"not json",
        b"null",
        b"5",
        b'"text"',
        b"{}",
        b'""',
        b"[5]",
        b"[null]",
        b'["task"]',
        b"[[]]",
        b"[{}]",
        b"[" * 100_000,
        b'[{"task_id": "t", "status": "STARTED", "at": NaN}]',
        b'[{"task_id": "t", "status": "STARTED", "at": Infinity}]',
        b'[{"task_id": "t", "status": "STARTED", "at": 1e999}]',
        *(
            json.dumps([{**GOOD, **changes}]).encode()
            for changes in (
                {"status": "DANCING"},
                {"status": None},
                {"task_id": 5},
                {"at": "yesterday"},
                {"at": True},
                {"at": -1},
                {"attempt": 1.5},
                {"attempt": -1},
                {"runtime": "long"},
                {"args": {"not": "a list"}},
                {"kwargs": ["not", "an", "object"]},
                {"result": {"not": "text"}},
                {"worker": None},
            )
        ),
        *(json.dumps([{name: GOOD[name] for name in GOOD if name != missing}]).encode() for missing in GOOD),
    ],
    ids=lambda raw: repr(raw[:60]) if raw else repr(raw),
)
def test_garbage_is_recognised(raw: bytes | None) -> None:
    with pytest.raises(UnreadableEntryError):
        decode(raw)


def test_one_bad_event_spoils_its_entry() -> None:
    with pytest.raises(UnreadableEntryError):
        decode(json.dumps([GOOD, {**GOOD, "at": None}]).encode())


def read_or_refused(raw: bytes) -> None:
    try:
        read = decode(raw)
    except UnreadableEntryError:
        return
    # Only what `encode` makes may pass; so it must survive another round.
    assert decode(encode(read)) == read


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_another_error(raw: bytes) -> None:
    read_or_refused(raw)


some_fields = st.fixed_dictionaries({}, optional=dict.fromkeys(["task_id", "status", "at", "attempt"], json_values))


@given(json_values | st.lists(some_fields))
def test_no_json_whatever_raises_another_error(value: object) -> None:
    read_or_refused(json.dumps(value).encode())
