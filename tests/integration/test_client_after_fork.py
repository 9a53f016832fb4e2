"""A forked process has a Redis client of its own, whatever its parent's other threads were doing at that moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from zenith_worker.wire import client


def in_child(do: Callable[[], object]) -> int:
    """Return the exit status of a forked child: 0 once `do` has returned, or the signal that ended its waiting."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        try:
            do()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_does_not_wait_for_a_lock_that_another_thread_held_at_the_fork() -> None:
    client.client().ping()
    client.command("PING")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with client.client().connection_pool._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        assert in_child(lambda: client.client().ping()) == 0
        assert in_child(lambda: client.command("PING")) == 0
    finally:
        done.set()
        thread.join()
    assert client.client().ping(), "and the parent's goes on"


def test_a_childs_child_has_its_own_too() -> None:
    client.client().ping()
    assert in_child(lambda: client.client().ping() and in_child(lambda: client.command("PING"))) == 0
    assert client.command("PING") in (b"PONG", "PONG")
