"""The footprint of the idle stack: memory, CPU, and the time of a second start."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import psutil

from bench.lab import Lab
from bench.processes import server_cpu_seconds
from bench.report import Figure, Report, below, format_number, progress, say, table
from bench.stack import Stack

IDLE_SECONDS = 20.0
#: Seconds for work after a start, such as the first heartbeat and PostgreSQL's first checkpoint.
SETTLE_SECONDS = 5.0
ROUNDS = 3
MEGABYTE = 1_000_000
#: The kind of a process, by a word in its command line; the first match counts.
KINDS = (
    ("celery", "worker"),
    ("daphne", "web"),
    ("run_engine", "engine"),
    ("run_agent", "agent"),
    ("redis", "redis"),
    ("valkey", "redis"),
    ("postgres", "postgres"),
)


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    seconds = 5.0 if quick else IDLE_SECONDS
    memory: dict[str, list[float]] = {"one": [], "default": []}
    share: dict[str, list[float]] = {"one": [], "default": []}
    starts: list[float] = []
    with Lab(servers=False) as lab:
        progress("footprint: first start, on an empty directory")
        with Stack(lab) as stack:
            first = stack.ready_after
        total = rounds or (1 if quick else ROUNDS)
        kinds: dict[str, float] = {}
        for number in range(total):
            for name, options in (("one", ("--concurrency", "1")), ("default", ())):
                progress(f"footprint: round {number + 1} of {total}, {name}")
                with Stack(lab, *options) as stack:
                    starts.append(stack.ready_after)
                    time.sleep(SETTLE_SECONDS)
                    share[name].append(_idle_share(stack, seconds))
                    by_kind = _memory(stack)
                memory[name].append(sum(by_kind.values()))
                kinds = by_kind if name == "one" else kinds
            say(
                f"footprint: round {number + 1} of {total}: {memory['one'][-1]:.0f} MB, {share['one'][-1]:.1f} % of a core, "
                f"ready after {starts[-2]:.1f} s"
            )
    return _report(first, starts, memory, share, kinds)


def _report(
    first: float, starts: list[float], memory: dict[str, list[float]], share: dict[str, list[float]], kinds: dict[str, float]
) -> Report:
    report = Report("footprint: `manage.py up` with nothing to do")
    report.notes = [
        "  Proportional memory (PSS: shared memory is counted once) with one pool process, in MB:",
        *table([(f"    {kind}", format_number(size)) for kind, size in sorted(kinds.items(), key=lambda pair: -pair[1])]),
        f"  First start, in an empty directory, including the first batch: {first:.1f} s.",
    ]
    report.figures = [
        Figure("idle memory, one pool process", memory["one"], unit="MB", target=below(600)),
        Figure("idle share of one core, one pool process", share["one"], unit="%", target=below(5)),
        Figure("idle memory, default concurrency", memory["default"], unit="MB"),
        Figure("idle share of one core, default concurrency", share["default"], unit="%"),
        Figure("second start until ready", starts, unit="s", target=below(10)),
    ]
    report.details = {"memory": memory, "share": share, "first_start": first, "starts": starts, "megabytes_by_kind": kinds}
    return report


def _idle_share(stack: Stack, seconds: float) -> float:
    """Return the percentage of one core that all processes use together."""
    before, started = server_cpu_seconds(stack.pid) + _ended_below(stack), time.monotonic()
    time.sleep(seconds)
    used = server_cpu_seconds(stack.pid) + _ended_below(stack) - before
    return 100 * used / (time.monotonic() - started)


def _ended_below(stack: Stack) -> float:
    """Return the CPU seconds of exited children, from their parents: autovacuum workers come and go."""
    total = 0.0
    for pid in stack.pids()[1:]:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.children_user + times.children_system
    return total


def _memory(stack: Stack) -> dict[str, float]:
    """Return MB by kind of process."""
    megabytes: dict[str, float] = defaultdict(float)
    for pid in stack.pids():
        try:
            command = " ".join(psutil.Process(pid).cmdline())
            kind = next((kind for word, kind in KINDS if word in command), "other")
            megabytes["up" if pid == stack.pid else kind] += _proportional(pid) / MEGABYTE
        except psutil.NoSuchProcess:
            continue
    return megabytes


def _proportional(pid: int) -> int:
    """Return a process's proportional memory in bytes, or its resident memory if the kernel does not report PSS."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return int(psutil.Process(pid).memory_info().rss)
