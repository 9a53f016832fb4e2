"""Decide how many nodes a group should have: a pure function of its queue, its workers and its limits, with a reason in words.

Scale out to as many nodes as drain the waiting messages within the target, at the rate per slot observed lately. Scale in only
when nothing is waiting, to as many nodes as keep the busy slots at no more than `EASY` of all slots. `HYSTERESIS` keeps the two
apart, and each change is followed by a cooldown in which it can take effect.
"""

import math
from dataclasses import dataclass
from typing import Final

from zenith_site.common.humanize import duration

#: A queue needs more nodes only if it takes this many times its target to drain.
HYSTERESIS: Final = 1.1
#: The share of slots that may be busy after scaling in.
EASY: Final = 0.7
#: Tasks per second; a lower rate (one task in eleven days) counts as none, and nothing is divided by it.
SLOWEST: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A group's limits; times are in seconds, `slots` is how many tasks one node runs at once."""

    minimum: int
    maximum: int
    target: float
    cooldown: float
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The observed state of a group and its queue.

    Attributes:
        replicas: nodes desired to run.
        ready: nodes that are READY.
        busy: slots of the ready nodes that run a task.
        rate: tasks that all of the queue's workers finish per second.
        rate_in: tasks that arrive per second; None if not known yet.
        consuming: slots of all workers that consume the queue.
        since_change: seconds since the autoscaler last changed the number; None if it never did.
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
    """The number of nodes, and the reason in a sentence for people."""

    replicas: int
    reason: str


def decide(rules: Rules, observed: Observation) -> Decision:
    """Return how many nodes there should be, with the reason; the reason also explains why the number stays."""
    if not rules.minimum <= observed.replicas <= rules.maximum:
        return _bounded(rules, observed, observed.replicas, "the bounds")
    if observed.paused:
        return Decision(observed.replicas, "±0: the queue is paused.")
    proposed, why = _scale_out(rules, observed) if observed.waiting else _scale_in(rules, observed)
    change = _bounded(rules, observed, proposed, why)
    if change.replicas != observed.replicas and observed.since_change is not None and observed.since_change < rules.cooldown:
        remaining = duration(rules.cooldown - observed.since_change)
        return Decision(observed.replicas, f"±0: would be {change.reason.rstrip('.')}; in cooldown for another {remaining}.")
    return change


def _scale_out(rules: Rules, observed: Observation) -> tuple[int, str]:
    waits = f"{observed.waiting:,} waiting"
    target = f"target {duration(rules.target)}"
    if observed.ready < observed.replicas:
        return observed.replicas, f"{waits}; {observed.replicas - observed.ready} of {observed.replicas} nodes are not ready yet"
    if not observed.replicas:
        return 1, f"{waits} and no node"
    if observed.rate < SLOWEST or not observed.consuming:
        late = observed.oldest is not None and observed.oldest > rules.target * HYSTERESIS
        return (
            observed.replicas + late,
            f"{waits}, the oldest for {duration(observed.oldest)}, and none finished recently; {target}",
        )
    seconds = observed.waiting / observed.rate
    why = f"{waits}, {duration(seconds)} to drain at {observed.rate:.3g}/s, {target}"
    if seconds <= rules.target * HYSTERESIS:
        return observed.replicas, why
    missing = observed.waiting / rules.target + (observed.rate_in or 0.0) - observed.rate
    more = math.ceil(missing / (observed.rate / observed.consuming * rules.slots) - 1e-9)
    # The rate per slot comes from few samples: at most double the group at a time.
    return observed.replicas + max(1, min(more, observed.replicas)), why


def _scale_in(rules: Rules, observed: Observation) -> tuple[int, str]:
    slots = observed.ready * rules.slots
    needed = math.ceil(observed.busy / (EASY * rules.slots) - 1e-9)
    # Halve the group at most: nodes that are idle now may be needed soon.
    least = max(needed, observed.replicas // 2)
    return min(observed.replicas, least), f"nothing waiting, {observed.busy:,} of {slots:,} slots busy"


def _bounded(rules: Rules, observed: Observation, proposed: int, why: str) -> Decision:
    replicas = min(max(proposed, rules.minimum), rules.maximum)
    step = replicas - observed.replicas
    bound = ""
    if replicas < proposed:
        bound = f"; {rules.maximum} at most"
    elif replicas > proposed:
        bound = f"; {rules.minimum} at least"
    return Decision(replicas, f"{step:+d}: {why}{bound}." if step else f"±0: {why}{bound}.")
