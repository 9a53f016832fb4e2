"""Which conditions hold and which are over: pure decisions about what was read; rules.py reads it.

What is neither said to hold nor to be over stays as it is: of a worker that nobody has heard of for long, nothing new is known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from zenith_site.common.humanize import duration

Link = Callable[[str], str]

#: Queues that back up and are named one by one.
MAX_QUEUES: Final = 20
#: The key of the notification about all others.
OTHER_QUEUES: Final = "(others)"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should know of, while it holds.

    Attributes:
        key: what tells it from others of its kind.
        link: the page of its cause, as a path of this site.
        count: how many failures it is made of; 1 for what just holds.
    """

    key: str
    title: str
    body: str
    link: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Look:
    """What was decided: the conditions that hold, and how each that is over ended, by its key."""

    holding: list[Alert] = field(default_factory=list)
    over: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failures:
    """Dead letters of one fingerprint that nobody has decided about; `letters` of them are recent."""

    fingerprint: str
    task_name: str
    error_type: str
    message: str
    letters: int
    newest_at: datetime


def dead_letters(
    recent: Iterable[Failures], left: Mapping[str, int], open_keys: AbstractSet[str], link: Link, quiet: str
) -> Look:
    """A cause holds while it brought letters lately that nobody has decided about.

    Args:
        recent: the causes with such letters.
        left: how many open letters, however old, each open key has.
        link: returns the address of the page of a key's cause.
        quiet: for how long a cause has to be quiet until it is over, in words.
    """
    holding = [
        Alert(
            found.fingerprint, f"{found.error_type or 'A failure'} in {found.task_name or 'an unknown task'}", found.message,
            link(found.fingerprint), found.letters,
        )
        for found in recent
    ]  # fmt: skip
    keys = {condition.key for condition in holding}
    return Look(holding, {key: _end_of_failures(left.get(key, 0), quiet) for key in open_keys - keys})


def _end_of_failures(left: int, quiet: str) -> str:
    if not left:
        return "Every dead letter of it was replayed or discarded."
    waiting = "1 dead letter waits" if left == 1 else f"{left:,} dead letters wait"
    return f"It did not fail again for {quiet}; {waiting} for a decision."


def workers_gone(
    ages: Mapping[str, float], cleared: Mapping[str, str], open_keys: AbstractSet[str], link: Link, after: float
) -> Look:
    """A worker is gone that has not beaten for `after` seconds, and back once it beats again.

    One that said goodbye is not among the `ages` (seconds since each one's heartbeat), nor is one that is forgotten. `cleared`
    are those that somebody took off the list, with who it was.
    """
    holding = [
        Alert(
            name, f"{name} is gone", f"It has not been heard of for {after:.0f} s and did not say goodbye. "
            "What it held goes back to its queue.", link(name),
        )
        for name, age in sorted(ages.items()) if age >= after
    ]  # fmt: skip
    over = {name: f"It was cleared by {by}." for name, by in cleared.items() if name in open_keys and name not in ages}
    return Look(holding, over | {name: "It beats again." for name, age in ages.items() if name in open_keys and age < after})


def queues_behind(
    oldest: Mapping[str, float | None],
    paused: AbstractSet[str],
    open_keys: AbstractSet[str],
    link: Link,
    others: str,
    after: float,
) -> Look:
    """A queue backs up whose oldest task has waited for `after` seconds; a paused one does as somebody wanted.

    With a queue for each customer, one cause is not thousands of notifications: beside `MAX_QUEUES` that are named, those that
    are open first, there is one for all others.

    Args:
        oldest: for how many seconds the oldest task of each queue has waited, None where none waits; empty where nobody looked.
        others: the page of all queues.
    """
    behind = {name: age for name, age in oldest.items() if age is not None and age >= after and name not in paused}
    ranked = sorted(behind, key=lambda name: (name not in open_keys, -behind[name], name))
    holding = [
        Alert(
            name, f"Queue {name} backs up", f"Its oldest task had waited for {duration(behind[name])} when this was noticed.",
            link(name),
        )
        for name in sorted(ranked[:MAX_QUEUES])
    ]  # fmt: skip
    over = dict.fromkeys(open_keys & paused, "It is paused.")
    if rest := ranked[MAX_QUEUES:]:
        holding.append(_others_behind([(name, behind[name]) for name in rest], others))
    elif oldest and OTHER_QUEUES in open_keys:
        over[OTHER_QUEUES] = f"No more than {MAX_QUEUES} queues back up, each with a notification of its own."
    for name in open_keys - behind.keys() - paused - {OTHER_QUEUES}:
        if name in oldest:
            over[name] = f"Nothing in it waits for {duration(after)} any more."
        elif oldest:
            over[name] = "Nobody uses it any more."
    return Look(holding, over)


def _others_behind(rest: Sequence[tuple[str, float]], link: str) -> Alert:
    name, age = max(rest, key=lambda pair: pair[1])
    queues = "1 more queue backs up" if len(rest) == 1 else f"{len(rest):,} more queues back up"
    body = f"In one of them, {name}, the oldest task had waited for {duration(age)} when this was noticed."
    return Alert(OTHER_QUEUES, queues, body, link, len(rest))


def stream_behind(lag: float, link: str, after: float) -> Look:
    """The recorder is behind when the oldest report has waited for `after` seconds."""
    if lag < after:
        return Look([], {"": "Reports are recorded as they come again."})
    body = f"The oldest report of a worker had waited for {duration(lag)} when this was noticed. Does an engine run?"
    return Look([Alert("", "The recorder is behind", body, link)])


def nodes_failed(failed: Mapping[str, tuple[str, str]], now: Mapping[str, str], open_keys: AbstractSet[str], link: Link) -> Look:
    """A node has failed for as long as its status says so.

    Args:
        failed: name and reason of each node that has failed, by its id.
        now: the status, in a word, of each open key whose node is still there.
    """
    holding = [Alert(key, f"Node {name} failed", reason, link(key)) for key, (name, reason) in sorted(failed.items())]
    over = {key: f"It is {now[key]}." if key in now else "It was removed." for key in open_keys - failed.keys()}
    return Look(holding, over)


@dataclass(frozen=True, slots=True)
class HostSeen:
    """A Docker host: seconds since its agent's sign of life (None: it stopped on purpose), and why its engine is out of reach."""

    name: str
    silent: float | None
    engine_error: str = ""


def hosts_unreachable(hosts: Iterable[HostSeen], open_keys: AbstractSet[str], link: Link, after: float) -> Look:
    """A host is unreachable whose agent has been silent for `after` seconds, or says that it cannot reach the engine."""
    holding, over = [], dict.fromkeys(open_keys, "It was removed.")
    for host in hosts:
        if host.silent is not None and host.silent >= after:
            said = f"Its agent has given no sign of life for {duration(host.silent)}; whether its nodes work is not known."
            holding.append(Alert(host.name, f"Host {host.name} is unreachable", said, link(host.name)))
        elif host.silent is not None and host.engine_error:
            holding.append(Alert(host.name, f"Docker on {host.name} is unreachable", host.engine_error, link(host.name)))
        elif host.name in open_keys:
            over[host.name] = "Its agent was stopped on purpose." if host.silent is None else "It is reached again."
            continue
        over.pop(host.name, None)
    return Look(holding, over)


def faults(found: Mapping[str, tuple[str, str]], open_keys: AbstractSet[str], link: str) -> Look:
    """A fault holds while its part had one lately: by part, what was passed over and what it met."""
    holding = [
        Alert(part, f"{part} fails", f"{f'It passed over {item}. ' if item else ''}{error}", link)
        for part, (item, error) in sorted(found.items())
    ]
    return Look(holding, dict.fromkeys(open_keys - found.keys(), "It has met no further error."))


def set_aside(found: Mapping[str, str], open_keys: AbstractSet[str], link: str) -> Look:
    """What was set aside holds while it is new, or there: by what it is, and why."""
    holding = [Alert(what, f"{what} was set aside", why, link) for what, why in sorted(found.items())]
    return Look(holding, dict.fromkeys(open_keys - found.keys(), "Nothing more of it was set aside."))
