"""The retry decision, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_worker.retry import CAP_SECONDS, GiveUp, RunAgain, backoff_ceiling, decide


@pytest.mark.parametrize(
    ("retries", "max_retries", "worth", "jitter", "decision"),
    [
        (0, 3, True, 0.0, RunAgain(0.0)),
        (0, 3, True, 0.5, RunAgain(0.5)),
        (1, 3, True, 0.5, RunAgain(1.0)),
        (2, 3, True, 0.25, RunAgain(1.0)),
        (3, 3, True, 0.5, GiveUp("All 4 attempts failed.")),
        (4, 3, True, 0.5, GiveUp("All 4 attempts failed.")),
        (0, 0, True, 0.5, GiveUp("All 1 attempts failed.")),
        (0, 3, False, 0.5, GiveUp("This error is not worth retrying.")),
        (9, 3, False, 0.5, GiveUp("This error is not worth retrying.")),
        (50, 100, True, 0.5, RunAgain(300.0)),
        (10**9, 2**31, True, 0.5, RunAgain(300.0)),
    ],
)
def test_what_becomes_of_a_failed_attempt(
    retries: int, max_retries: int, worth: bool, jitter: float, decision: RunAgain | GiveUp
) -> None:
    assert decide(retries=retries, max_retries=max_retries, worth_retrying=worth, jitter=jitter) == decision


@pytest.mark.parametrize(("retries", "seconds"), [(0, 1), (1, 2), (2, 4), (9, 512), (10, 600), (11, 600), (10_000, 600)])
def test_the_ceiling_doubles_up_to_ten_minutes(retries: int, seconds: float) -> None:
    assert backoff_ceiling(retries) == seconds


@given(retries=st.integers(0, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_the_delay_lies_between_nothing_and_the_ceiling(retries: int, jitter: float) -> None:
    decision = decide(retries=retries, max_retries=10**7, worth_retrying=True, jitter=jitter)
    assert isinstance(decision, RunAgain)
    assert 0 <= decision.delay <= backoff_ceiling(retries) <= CAP_SECONDS


def test_a_task_may_have_its_own_first_and_longest_back_off() -> None:
    def delay(retries: int) -> RunAgain | GiveUp:
        return decide(retries=retries, max_retries=9, worth_retrying=True, jitter=0.5, base=30, cap=100)

    assert [delay(retries) for retries in range(4)] == [RunAgain(15), RunAgain(30), RunAgain(50), RunAgain(50)]


@pytest.mark.parametrize(("delay", "is_long"), [(0.0, False), (60.0, False), (60.1, True)])
def test_a_back_off_of_more_than_a_minute_is_long(delay: float, is_long: bool) -> None:
    assert RunAgain(delay).is_long is is_long
