"""Run each benchmark in its own process, because Django reads its settings, and with them its servers, only once."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection

from bench.processes import BenchError
from bench.report import Report


def run_isolated(name: str, *, rounds: int | None, quick: bool) -> Report:
    """Run one benchmark and return its report.

    Raises:
        BenchError: if it cannot continue.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, name, rounds, quick))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        raise BenchError(f"{name} ended early") from None
    finally:
        # On an interrupt, let the benchmark clean up first.
        if process.is_alive() and sys.exc_info()[0]:
            process.terminate()
        process.join()
    if isinstance(result, Report):
        return result
    raise BenchError(str(result))


def _run(sender: Connection, name: str, rounds: int | None, quick: bool) -> None:
    signal.signal(signal.SIGTERM, exit_on_signal)
    try:
        sender.send(importlib.import_module(f"bench.{name}").run(rounds=rounds, quick=quick))
    except BenchError as error:
        sender.send(str(error))


def exit_on_signal(*_: object) -> None:
    """Exit cleanly on a signal."""
    sys.exit(143)
