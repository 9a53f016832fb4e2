"""Parts of the engine that die at the worst moment: `python -m tests.faults.saboteur recorder|relay [NTH]`.

The real part runs, in a process of its own; only the step that comes right after the point of no return is replaced by SIGKILL,
at its NTH time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import django

django.setup()

from tasks_app.dispatch import hand_over, publish, relay  # noqa: E402
from tasks_app.recording import recorder  # noqa: E402
from zenith_worker.wire import stream  # noqa: E402


def deadly(step: Callable[..., Any], nth: int) -> Callable[..., Any]:
    """Return a step that kills its process instead of happening the `nth` time."""
    left = nth

    def happens(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)

    return happens


def main(part: str, nth: int = 1) -> None:
    """Run a part until it dies."""
    stop = threading.Event()
    if part == "recorder":
        # Committed, not acknowledged.
        stream.done = deadly(stream.done, nth)  # type: ignore[assignment]
        recorder.run(stop)
    else:
        # Published, or handed over to another application's workers, and not marked.
        publish._mark_queued = deadly(publish._mark_queued, nth)  # type: ignore[assignment]
        hand_over.note_handed = deadly(hand_over.note_handed, nth)  # type: ignore[assignment]
        relay.run(stop)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
