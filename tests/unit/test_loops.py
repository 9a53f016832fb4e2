"""What the endless loops share."""

import signal
import threading
from collections.abc import Iterator

import pytest

from zenith_site.common.loops import stop_on_signals

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Guarded(threading.Event):
    """An event whose lock can be held by a test, as `Event.wait` and an interrupted `Event.set` hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = threading.Lock()

    def set(self) -> None:
        """Set it, or fail where the real one would wait for ever."""
        if not self.guard.acquire(timeout=5):
            raise TimeoutError("the lock is held by the code that the signal interrupted")
        super().set()
        self.guard.release()


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.wait(5)


def test_signals_that_interrupt_whoever_holds_the_events_lock_are_kept() -> None:
    stop = Guarded()
    stop_on_signals(stop)
    with stop.guard:
        for number in (*NUMBERS, *NUMBERS):
            signal.raise_signal(number)
        assert not stop.is_set()
    assert stop.wait(5)
