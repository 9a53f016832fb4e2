"""Logs of nodes in Redis: a watch lasts for a while, and readers miss no line."""

from __future__ import annotations

from uuid import UUID

import pytest

from infra_app import log_stream
from infra_app.log_stream import MAX_LENGTH, MAX_LINES, UNREADABLE, Line
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.keys import NODE_LOG, NODE_LOG_WATCHED

BLOCK = 200


@pytest.fixture
def node() -> UUID:
    return new_id()


def lines(count: int, start: int = 0) -> list[Line]:
    return [Line(f"2026-01-01T00:00:00.{number:09d}Z", "stderr", f"line {number}") for number in range(start, start + count)]


def test_who_is_watched_is_known(node: UUID) -> None:
    other = new_id()
    assert log_stream.watched([node, other]) == set()
    log_stream.watch(node)
    assert log_stream.watched([node, other]) == {node}
    assert log_stream.watched([]) == set()


def test_watching_ends_unless_it_is_renewed(node: UUID) -> None:
    log_stream.watch(node)
    left = log_stream._client().ttl(f"{NODE_LOG_WATCHED}{node}")
    assert 0 < left <= log_stream.WATCHED_FOR


def test_a_reader_goes_on_where_it_was(node: UUID) -> None:
    log_stream.append(node, lines(3))
    first = log_stream.read(node)
    assert [entry.text for entry in first] == ["line 0", "line 1", "line 2"]
    assert (first[0].at, first[0].stream) == ("2026-01-01T00:00:00.000000000Z", "stderr")
    log_stream.append(node, lines(2, start=3))
    assert [entry.text for entry in log_stream.read(node, after=first[-1].id)] == ["line 3", "line 4"]
    assert log_stream.read(node, after=log_stream.read(node)[-1].id) == []


def test_without_an_id_the_newest_come_in_their_order(node: UUID) -> None:
    log_stream.append(node, lines(10))
    assert [entry.text for entry in log_stream.read(node, limit=2)] == ["line 8", "line 9"]
    assert log_stream.newest_at(node) == "2026-01-01T00:00:00.000000009Z"


def test_nothing_is_there_before_somebody_watched(node: UUID) -> None:
    assert log_stream.read(node) == []
    assert log_stream.newest_at(node) == ""


def test_what_is_no_id_is_refused(node: UUID) -> None:
    with pytest.raises(ValueError, match="is not the id of a line"):
        log_stream.read(node, after="last")


def test_old_lines_make_room_and_long_ones_are_cut(node: UUID) -> None:
    log_stream.append(node, lines(MAX_LINES + BLOCK))
    log_stream.append(node, [Line("2026-01-01T00:00:01.000000000Z", "stdout", "x" * (MAX_LENGTH + 1))])
    kept = log_stream.read(node, limit=MAX_LINES + BLOCK)
    assert MAX_LINES <= len(kept) <= MAX_LINES + BLOCK
    assert kept[-1].text == "x" * MAX_LENGTH


def test_an_entry_that_is_no_line_is_shown_as_one_and_readers_go_on_behind_it(node: UUID) -> None:
    garbage: list[dict[str, str]] = [
        {"x": "y"},
        {"t": "yesterday", "s": "stderr", "m": "m"},
        {"t": "", "s": "elsewhere", "m": "m"},
    ]
    for fields in garbage:
        log_stream._client().xadd(f"{NODE_LOG}{node}", fields)
    log_stream.append(node, lines(1))
    entries = log_stream.read(node)
    assert [entry.text for entry in entries] == [UNREADABLE] * len(garbage) + ["line 0"]
    assert log_stream.read(node, after=entries[2].id) == [entries[3]]


def test_a_line_that_somebody_else_made_too_long_is_cut(node: UUID) -> None:
    log_stream._client().xadd(f"{NODE_LOG}{node}", {"t": "", "s": "stdout", "m": "x" * (MAX_LENGTH + 1)})
    (entry,) = log_stream.read(node)
    assert len(entry.text) == MAX_LENGTH
