"""The statuses: each has a sentence and its exits, and positions order all steps of a task."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_worker.wire.states import OPEN, TERMINAL, TRANSITIONS, Status, attempt_of, position

each_status = pytest.mark.parametrize("status", list(Status))


@each_status
def test_every_status_has_a_sentence_a_label_and_a_rank_of_its_own(status: Status) -> None:
    assert status.sentence.endswith(".")
    assert status.label.upper() == status.value
    assert [other for other in Status if other.rank == status.rank] == [status]


@each_status
def test_every_status_is_either_open_or_terminal(status: Status) -> None:
    assert (status in OPEN) != (status in TERMINAL)


@each_status
def test_exactly_the_terminal_statuses_have_no_exit(status: Status) -> None:
    assert (TRANSITIONS[status] == frozenset()) == (status in TERMINAL)


@each_status
def test_whatever_is_open_can_be_revoked(status: Status) -> None:
    assert (Status.REVOKED in TRANSITIONS[status]) == (status in OPEN)


def test_the_terminal_statuses_are_celerys_and_the_one_that_celery_calls_an_end_without_a_result() -> None:
    assert {status.value for status in TERMINAL} == {"SUCCESS", "FAILURE", "REVOKED", "IGNORED"}


def test_ranks_are_a_part_of_what_is_stored_and_never_change() -> None:
    assert [status.value for status in Status] == [
        "SCHEDULED", "PENDING", "QUEUED", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REPLACED",
    ]  # fmt: skip
    assert [status.rank for status in Status] == list(range(1, 12))


def test_within_one_delivery_ranks_rise_along_the_way_of_a_task() -> None:
    way = [
        Status.SCHEDULED, Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY, Status.SUCCESS,
    ]  # fmt: skip
    assert all(earlier.rank < later.rank for earlier, later in pairwise(way))


def test_an_attempt_that_is_delivered_without_end_never_moves_back_and_never_into_the_next_attempt() -> None:
    places = [position(0, delivery, Status.STARTED) for delivery in (254, 255, 256, 300, 100_000)]
    assert places == sorted(places)
    assert places[-1] < position(1, 0, Status.SCHEDULED)


steps = st.tuples(st.integers(0, 1000), st.integers(0, 255), st.sampled_from(list(Status)))


@given(one=steps, other=steps)
def test_positions_order_steps_by_attempt_then_delivery_then_rank(
    one: tuple[int, int, Status], other: tuple[int, int, Status]
) -> None:
    def key(step: tuple[int, int, Status]) -> tuple[int, int, int]:
        return step[0], step[1], step[2].rank

    assert (position(*one) < position(*other)) == (key(one) < key(other))


@given(step=steps)
def test_a_position_tells_its_attempt(step: tuple[int, int, Status]) -> None:
    assert attempt_of(position(*step)) == step[0]


@given(delivery=st.integers(256, 10**9), status=st.sampled_from(list(Status)))
def test_endless_deliveries_do_not_look_like_the_next_attempt(delivery: int, status: Status) -> None:
    assert attempt_of(position(4, delivery, status)) == 4
    assert position(4, delivery, status) < position(5, 0, Status.SCHEDULED)
