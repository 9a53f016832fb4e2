"""Percentiles out of a histogram: off by at most a fifth, whatever the runtimes."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.recording.rollups import BOUNDS, BUCKETS, percentile


def histogram_of(runtimes: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for runtime in runtimes:
        counts[bisect_left(BOUNDS, runtime)] += 1
    return counts


def test_the_buckets_reach_from_a_tenth_of_a_millisecond_to_over_an_hour() -> None:
    assert BOUNDS[0] == pytest.approx(0.0001)
    assert BOUNDS[-1] > 3600
    assert len(BOUNDS) + 1 == BUCKETS
    for lower, upper in pairwise(BOUNDS):
        assert upper / lower == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_nothing_counted_means_no_percentile(share: float) -> None:
    assert percentile([0] * BUCKETS, share) is None


def test_the_median_lies_between_the_fast_and_the_slow_half() -> None:
    median = percentile(histogram_of([0.01] * 50 + [1.0] * 50), 0.5)
    assert median is not None
    assert 0.01 / 1.4143 <= median <= 0.01 * 1.4143


def test_the_tail_shows_in_the_last_percentiles_only() -> None:
    counts = histogram_of([0.01] * 97 + [10.0] * 3)
    p95, p99 = percentile(counts, 0.95), percentile(counts, 0.99)
    assert p95 is not None
    assert p99 is not None
    assert p95 < 0.0142
    assert p99 > 7


def test_runtimes_beyond_the_last_bound_count_as_the_last_bound() -> None:
    value = percentile(histogram_of([10.0**6] * 3), 0.5)
    assert value is not None
    assert BOUNDS[-1] / 2 <= value <= BOUNDS[-1]


runtimes = st.lists(st.floats(BOUNDS[0] * 1.01, BOUNDS[-1]), min_size=1, max_size=200)


@given(runtimes=runtimes, share=st.floats(0.01, 1))
def test_a_percentile_is_near_the_runtime_of_that_rank(runtimes: list[float], share: float) -> None:
    counts = histogram_of(runtimes)
    exact = sorted(runtimes)[max(0, math.ceil(share * len(runtimes) - 1e-9) - 1)]
    found = percentile(counts, share)
    assert found is not None
    # Both lie in one bucket, whose ends are apart by the square root of two.
    assert exact / 1.4143 <= found <= exact * 1.4143


@given(runtimes=runtimes, low=st.floats(0.01, 1), high=st.floats(0.01, 1))
def test_a_higher_share_never_has_a_lower_runtime(runtimes: list[float], low: float, high: float) -> None:
    counts = histogram_of(runtimes)
    lower, upper = percentile(counts, min(low, high)), percentile(counts, max(low, high))
    assert lower is not None
    assert upper is not None
    assert lower <= upper * (1 + 1e-9)
