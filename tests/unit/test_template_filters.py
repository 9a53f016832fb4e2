"""Numbers, times and statuses as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tasks_app.web.templatetags import zenith
from zenith_worker.wire.states import Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0.0 ms"),
        (0.00042, "0.4 ms"),
        (0.0094, "9.4 ms"),
        (0.0096, "10 ms"),
        (0.34, "340 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1.2, "1.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m"),
        (60, "1 m"),
        (192, "3 m 12 s"),
        (3599.6, "1 h"),
        (3600, "1 h"),
        (7500, "2 h 5 m"),
        (360_000, "100 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert zenith.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds_ago", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (-0.9, "now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 m ago"),
        (3599, "59 m ago"),
        (3600, "1 h ago"),
        (7500, "2 h 5 m ago"),
        (86_400, "1 d ago"),
        (3 * 86_400 + 5, "3 d ago"),
        (-5, "in 5 s"),
        (-300, "in 5 m"),
        (-90_000, "in 1 d"),
    ],
)
def test_a_moment_is_told_by_its_distance(monkeypatch: pytest.MonkeyPatch, seconds_ago: float, text: str) -> None:
    monkeypatch.setattr(zenith.timezone, "now", lambda: NOW)
    assert zenith.ago(NOW - timedelta(seconds=seconds_ago)) == text


def test_no_moment_is_a_dash() -> None:
    assert zenith.ago(None) == "—"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1240, "1,240"),
        (9999, "9,999"),
        (10_000, "10.0 k"),
        (25_123, "25.1 k"),
        (999_949, "999.9 k"),
        (999_950, "1.0 M"),
        (3_200_000, "3.2 M"),
        (999_950_000, "1.0 G"),
        (7_000_000_000, "7.0 G"),
    ],
)
def test_a_large_count_is_shortened(number: int, text: str) -> None:
    assert zenith.compact(number) == text


def test_ids_of_one_batch_stay_apart_when_shortened() -> None:
    one, other = UUID("01936b2a-7c11-7a10-8000-00000000a001"), UUID("01936b2a-7c11-7a10-8000-00000000a002")
    assert zenith.short_id(one) == "01936b2a…000a001"
    assert zenith.short_id(one) != zenith.short_id(other)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_class_a_word_and_a_sentence(status: Status) -> None:
    assert zenith.status_class(status.value) == status.value.lower()
    assert zenith.status_label(status.value) == status.label
    assert zenith.status_sentence(status.value) == status.sentence


def test_an_icon_is_silent_and_its_name_is_escaped() -> None:
    assert 'aria-hidden="true"' in zenith.icon("cpu")
    assert "<script>" not in zenith.icon('"><script>')
