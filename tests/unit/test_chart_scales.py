"""The scales of charts: the steps that a person would choose, for any values and any time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_app.analytics.window import Preset, SteppedWindow, TimeWindow
from tasks_app.web.charts import TIME_STEPS, X_STEPS, Y_STEPS, Series, Unit, chart, scale, time_marks

START = 1_893_456_000  # midnight


@pytest.mark.parametrize(
    ("most", "unit", "marks"),
    [
        (0, Unit.SECONDS, ["0"]),
        (0.003, Unit.SECONDS, ["0", "1 ms", "2 ms", "3 ms"]),
        (0.7, Unit.SECONDS, ["0", "200 ms", "400 ms", "600 ms", "800 ms"]),
        (3.9, Unit.SECONDS, ["0", "1 s", "2 s", "3 s", "4 s"]),
        (40, Unit.SECONDS, ["0", "10 s", "20 s", "30 s", "40 s"]),
        (100, Unit.SECONDS, ["0", "30 s", "1 m", "1 m 30 s", "2 m"]),
        (500, Unit.SECONDS, ["0", "5 m", "10 m"]),
        (9000, Unit.SECONDS, ["0", "1 h", "2 h", "3 h"]),
        (60_000, Unit.SECONDS, ["0", "6 h", "12 h", "18 h"]),
        (0.02, Unit.RATE, ["0", "0.005", "0.01", "0.015", "0.02"]),
        (7, Unit.RATE, ["0", "2", "4", "6", "8"]),
        (2500, Unit.RATE, ["0", "1,000", "2,000", "3,000"]),
        (33, Unit.PERCENT, ["0 %", "50 %", "100 %"]),
    ],
    ids=str,
)
def test_a_scale_of_values_has_round_steps(most: float, unit: Unit, marks: list[str]) -> None:
    assert [unit.marked(mark) for mark in scale(most, unit)] == marks


@pytest.mark.parametrize("unit", [Unit.RATE, Unit.SECONDS], ids=str)
def test_every_scale_holds_its_values_in_few_steps(unit: Unit) -> None:
    for exponent in range(-40, 60):
        most = 10 ** (exponent / 10)
        marks = scale(most, unit)
        assert marks[-1] >= most * (1 - 1e-6)
        assert 2 <= len(marks) <= Y_STEPS + 1


@pytest.mark.parametrize("preset", [preset for preset in Preset if preset != Preset.ALL], ids=str)
def test_a_scale_of_times_has_whole_minutes_hours_or_days(preset: Preset) -> None:
    marks = time_marks(SteppedWindow(window=preset).span())
    assert 2 <= len(marks) <= X_STEPS + 1
    assert all(mark.label.split(":")[1] in {f"{minute:02}" for minute in range(60)} for mark in marks if ":" in mark.label)


def test_marks_of_times_stand_where_their_times_are_and_none_leaves_the_chart() -> None:
    marks = time_marks(TimeWindow(START, START + 86_400, 900))
    assert [(mark.label, mark.x, mark.anchor) for mark in marks] == [
        ("01 Jan", "0.00%", "start"), ("06:00", "25.26%", "middle"), ("12:00", "50.53%", "middle"), ("18:00", "75.79%", "middle"),
    ]  # fmt: skip
    assert [mark.anchor for mark in time_marks(TimeWindow(START, START + 3660, 60))][-1] == "end"


def test_a_line_goes_on_where_nothing_happened_and_breaks_where_nothing_is_known() -> None:
    span = TimeWindow(START, START + 240, 60)
    values = [1.0, None, 3.0, 4.0]
    drawn = chart("x", "X", span, [Series("a", "line", values), Series("b", "line", values, joined=True)], Unit.SECONDS)
    assert [line.path.count("M") for line in drawn.lines] == [2, 1]


def test_a_legend_says_what_was_in_all() -> None:
    span = TimeWindow(START, START + 120, 60)
    drawn = chart("x", "X", span, [Series("a", "line", [1.0, 3.0], "4")], Unit.RATE)
    assert drawn.lines[0].total == "4"


def test_the_script_has_the_same_steps() -> None:
    text = Path("static/js/chart-units.js").read_text()
    days = re.search(r"\[([\d, ]+)\]\.map\(\(days\)", text)
    assert days
    assert tuple(int(number) for number in days[1].split(",")) == tuple(step // 86_400 for step in TIME_STEPS if step >= 86_400)
