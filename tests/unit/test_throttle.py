"""A socket sends at once after a rest, and a few times a second under load; the clock here is the test's own."""

from __future__ import annotations

import pytest

from tasks_app.web import throttle as module
from tasks_app.web.throttle import Throttle


class Clock:
    """Stands in for the time module and for asyncio.sleep: sleeping takes no time at all but moves the clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "asyncio", clock)
    return clock


async def frames_within(clock: Clock, throttle: Throttle, seconds: float) -> int:
    """How many frames a socket sends that always has one to send."""
    end = clock.now + seconds
    count = 0
    while True:
        await throttle.wait()
        if clock.now > end:
            return count
        count += 1


async def test_the_first_frames_go_out_at_once(clock: Clock) -> None:
    throttle = Throttle(rate=4, burst=3)
    for _ in range(3):
        await throttle.wait()
    assert clock.now == 1000.0


async def test_the_next_frame_waits_for_its_turn(clock: Clock) -> None:
    throttle = Throttle(rate=4, burst=1)
    await throttle.wait()
    await throttle.wait()
    assert clock.now == pytest.approx(1000.25)


async def test_a_load_that_never_ends_makes_a_few_frames_a_second(clock: Clock) -> None:
    assert await frames_within(clock, Throttle(rate=4, burst=4), 60) == pytest.approx(4 + 4 * 60, abs=1)


async def test_a_rest_earns_a_burst_and_a_long_rest_no_more(clock: Clock) -> None:
    throttle = Throttle(rate=4, burst=4)
    await frames_within(clock, throttle, 10)
    clock.now += 3600
    rested = clock.now
    for _ in range(4):
        await throttle.wait()
    assert clock.now == rested
    await throttle.wait()
    assert clock.now == pytest.approx(rested + 0.25)
