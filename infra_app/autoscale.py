"""How many nodes a group should have: a pure decision over its queue, its workers and its rules, explained in words.

Outwards: enough nodes to drain what waits within the target, at the rate that a slot has shown lately. Inwards: so many that
those slots which are busy now would fill no more than `EASY` of the rest; never while anything waits. Between both lies a gap
(`HYSTERESIS`), and after each change a time of rest, in which what was changed can show what it does.
"""

import math
from dataclasses import dataclass
from typing import Final

from zenith_site.common.humanize import duration

#: Only a queue that takes this much longer than its target asks for more nodes.
HYSTERESIS: Final = 1.1
#: The share of slots that may be busy after scaling in.
EASY: Final = 0.7
#: Tasks per second; what ends less often than once in eleven days ends not at all. Nothing may be divided by less.
SLOWEST: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a group's autoscaling is told; times are in seconds, `slots` is what one node runs at once."""

    minimum: int
    maximum: int
    target: float
    cooldown: float
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """How things stand.

    Attributes:
        replicas: nodes that are wanted to run.
        ready: those that do.
        busy: slots of theirs that run a task.
        rate: tasks that the queue's workers end per second, all together.
        rate_in: tasks that come per second; None where that is not known yet.
        consuming: slots of all workers that take from the queue.
        since_change: seconds since the autoscaler last changed the number; None where it never did.
    """

    replicas: int
    ready: int
    busy: int
    waiting: int
    oldest: float | None
    rate: float
    rate_in: float | None
    consuming: int
    since_change: float | None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """How many nodes, and why, in a sentence for people."""

    replicas: int
    reason: str


def decide(rules: Rules, seen: Observation) -> Decision:
    """Return how many nodes there should be; where it is as many as now, why no other number."""
    if not rules.minimum <= seen.replicas <= rules.maximum:
        return _to(rules, seen, seen.replicas, "the bounds")
    if seen.paused:
        return Decision(seen.replicas, "±0: the queue is paused.")
    wanted, why = _out(rules, seen) if seen.waiting else _in(rules, seen)
    change = _to(rules, seen, wanted, why)
    if change.replicas != seen.replicas and seen.since_change is not None and seen.since_change < rules.cooldown:
        left = duration(rules.cooldown - seen.since_change)
        return Decision(seen.replicas, f"±0: would be {change.reason.rstrip('.')}; rests for another {left}.")
    return change


def _out(rules: Rules, seen: Observation) -> tuple[int, str]:
    waits = f"{seen.waiting:,} waiting"
    target = f"target {duration(rules.target)}"
    if seen.ready < seen.replicas:
        return seen.replicas, f"{waits}; {seen.replicas - seen.ready} of {seen.replicas} nodes are not ready yet"
    if not seen.replicas:
        return 1, f"{waits} and no node"
    if seen.rate < SLOWEST or not seen.consuming:
        late = seen.oldest is not None and seen.oldest > rules.target * HYSTERESIS
        return seen.replicas + late, f"{waits}, the oldest for {duration(seen.oldest)}, and none ended lately; {target}"
    seconds = seen.waiting / seen.rate
    why = f"{waits}, {duration(seconds)} to drain at {seen.rate:.3g}/s, {target}"
    if seconds <= rules.target * HYSTERESIS:
        return seen.replicas, why
    missing = seen.waiting / rules.target + (seen.rate_in or 0.0) - seen.rate
    more = math.ceil(missing / (seen.rate / seen.consuming * rules.slots) - 1e-9)
    # What a slot does is known from few samples: no more than twice as many at a time.
    return seen.replicas + max(1, min(more, seen.replicas)), why


def _in(rules: Rules, seen: Observation) -> tuple[int, str]:
    slots = seen.ready * rules.slots
    needed = math.ceil(seen.busy / (EASY * rules.slots) - 1e-9)
    # Half of them at a time: what is idle now may be needed in a moment.
    least = max(needed, seen.replicas // 2)
    return min(seen.replicas, least), f"nothing waiting, {seen.busy:,} of {slots:,} slots busy"


def _to(rules: Rules, seen: Observation, wanted: int, why: str) -> Decision:
    replicas = min(max(wanted, rules.minimum), rules.maximum)
    step = replicas - seen.replicas
    bound = ""
    if replicas < wanted:
        bound = f"; {rules.maximum} at most"
    elif replicas > wanted:
        bound = f"; {rules.minimum} at least"
    return Decision(replicas, f"{step:+d}: {why}{bound}." if step else f"±0: {why}{bound}.")
