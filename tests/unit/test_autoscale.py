"""Autoscaling decisions as a table: the observation, and the decision in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra_app.autoscale import Observation, Rules, decide

RULES = Rules(minimum=1, maximum=8, target=60, cooldown=120, slots=4)
#: Two nodes of four slots, all busy, that finish 6.5 tasks per second.
FULL = Observation(
    replicas=2, ready=2, busy=8, waiting=0, oldest=None, rate=6.5, rate_in=None, consuming=8, since_change=None
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # Scale out.
        ({"waiting": 1240}, "+2: 1,240 waiting, 3 m 11 s to drain at 6.5/s, target 1 m."),
        ({"waiting": 100}, "±0: 100 waiting, 15.4 s to drain at 6.5/s, target 1 m."),
        ({"waiting": 420}, "±0: 420 waiting, 1 m 5 s to drain at 6.5/s, target 1 m."),
        ({"waiting": 450}, "+1: 450 waiting, 1 m 9 s to drain at 6.5/s, target 1 m."),
        ({"waiting": 450, "rate_in": 6.5}, "+2: 450 waiting, 1 m 9 s to drain at 6.5/s, target 1 m."),
        (
            {"waiting": 10**6, "replicas": 5, "ready": 5},
            "+3: 1,000,000 waiting, 42 h 44 m to drain at 6.5/s, target 1 m; 8 at most.",
        ),
        ({"waiting": 1240, "ready": 1}, "±0: 1,240 waiting; 1 of 2 nodes are not ready yet."),
        ({"waiting": 9, "rate": 0, "oldest": 65},
         "±0: 9 waiting, the oldest for 1 m 5 s, and none finished recently; target 1 m."),
        ({"waiting": 9, "rate": 0, "oldest": 90},
         "+1: 9 waiting, the oldest for 1 m 30 s, and none finished recently; target 1 m."),
        ({"waiting": 9, "rate": 0}, "±0: 9 waiting, the oldest for —, and none finished recently; target 1 m."),
        # Scale in.
        ({}, "±0: nothing waiting, 8 of 8 slots busy."),
        ({"busy": 3}, "±0: nothing waiting, 3 of 8 slots busy."),
        ({"busy": 2}, "-1: nothing waiting, 2 of 8 slots busy."),
        ({"busy": 0, "replicas": 8, "ready": 8}, "-4: nothing waiting, 0 of 32 slots busy."),
        ({"busy": 0, "replicas": 1, "ready": 1}, "±0: nothing waiting, 0 of 4 slots busy; 1 at least."),
        # Cooldown, pause and bounds.
        (
            {"waiting": 1240, "since_change": 40},
            "±0: would be +2: 1,240 waiting, 3 m 11 s to drain at 6.5/s, target 1 m; in cooldown for another 1 m 20 s.",
        ),
        ({"waiting": 1240, "since_change": 121}, "+2: 1,240 waiting, 3 m 11 s to drain at 6.5/s, target 1 m."),
        ({"waiting": 1240, "paused": True}, "±0: the queue is paused."),
        ({"replicas": 0, "ready": 0, "since_change": 1, "paused": True}, "+1: the bounds; 1 at least."),
        ({"replicas": 9, "since_change": 1}, "-1: the bounds; 8 at most."),
    ],
)  # fmt: skip
def test_what_follows_from_what_is_seen(changes: dict[str, object], reason: str) -> None:
    decision = decide(RULES, replace(FULL, **changes))  # type: ignore[arg-type]
    assert decision.reason == reason
    step = int(reason.split(":")[0].replace("±", ""))
    assert decision.replicas == replace(FULL, **changes).replicas + step  # type: ignore[arg-type]


def test_from_none_the_first_that_waits_starts_one() -> None:
    rules = replace(RULES, minimum=0)
    seen = replace(FULL, replicas=0, ready=0, busy=0, rate=0.0, consuming=0)
    assert decide(rules, replace(seen, waiting=3)).reason == "+1: 3 waiting and no node."
    assert decide(rules, seen).replicas == 0


@example(minimum=1, more=5, seen=replace(FULL, waiting=10**7, rate=5e-324, consuming=1))
@given(
    minimum=st.integers(0, 5),
    more=st.integers(0, 20),
    seen=st.builds(
        Observation,
        replicas=st.integers(0, 30), ready=st.integers(0, 30), busy=st.integers(0, 100), waiting=st.integers(0, 10**7),
        oldest=st.none() | st.floats(0, 10**6), rate=st.floats(0, 10**4), rate_in=st.none() | st.floats(0, 10**4),
        consuming=st.integers(0, 500), since_change=st.none() | st.floats(0, 10**6), paused=st.booleans(),
    ),
)  # fmt: skip
def test_it_stays_within_its_bounds_and_never_takes_any_while_something_waits(minimum: int, more: int, seen: Observation) -> None:
    rules = replace(RULES, minimum=minimum, maximum=max(1, minimum + more))
    decision = decide(rules, seen)
    within = rules.minimum <= seen.replicas <= rules.maximum
    assert rules.minimum <= decision.replicas <= rules.maximum
    assert decision.replicas <= max(2 * seen.replicas, rules.minimum, 1)
    if within and seen.waiting:
        assert decision.replicas >= seen.replicas
