"""Pure decisions about which conditions hold and which are over, on data that the rules read (rules.py).

A condition in neither group stays as it is: for a worker that has been silent for long, there is nothing new to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from zenith_site.common.humanize import duration
from zenith_site.notify.kinds import Severity

Link = Callable[[str], str]

#: Queues that are backing up with a notification each.
MAX_QUEUES: Final = 20
#: The key of the notification about all further ones.
OTHER_QUEUES: Final = "(others)"


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that needs attention while it holds.

    Attributes:
        key: identifies it within its kind.
        link: the page about its cause, as a path on this site.
        count: the number of failures; 1 for a condition that simply holds.
        severity: None for that of the rule's kind.
        channels: the keys of the channels that get it; None for those that take its kind and severity.
    """

    key: str
    title: str
    body: str
    link: str
    count: int = 1
    severity: Severity | None = None
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of a rule: the conditions that hold, and how those that are over ended, by key."""

    holding: list[Alert] = field(default_factory=list)
    over: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failures:
    """Open dead letters of one fingerprint; `letters` of them are recent. `application` is empty for Zenith's own."""

    fingerprint: str
    task_name: str
    error_type: str
    message: str
    letters: int
    newest_at: datetime
    application: str = ""

    @property
    def title(self) -> str:
        """What failed, in a line."""
        title = f"{self.error_type or 'A failure'} in {self.task_name or 'an unknown task'}"
        return f"{title} of {self.application}" if self.application else title


def dead_letters(
    recent: Iterable[Failures], open_letters: Mapping[str, int], open_keys: AbstractSet[str], link: Link, quiet: str
) -> Evaluation:
    """A cause holds while it has recent dead letters that are still open.

    Args:
        recent: the causes with such letters.
        open_letters: the number of open dead letters, of any age, of each open key.
        link: returns the page about a key's cause.
        quiet: how long a cause must be quiet to be over, in words.
    """
    holding = [Alert(cause.fingerprint, cause.title, cause.message, link(cause.fingerprint), cause.letters) for cause in recent]
    keys = {condition.key for condition in holding}
    return Evaluation(holding, {key: _end_of_failures(open_letters.get(key, 0), quiet) for key in open_keys - keys})


def _end_of_failures(open_letters: int, quiet: str) -> str:
    if not open_letters:
        return "All its dead letters were replayed or discarded."
    still_open = "1 dead letter is still open" if open_letters == 1 else f"{open_letters:,} dead letters are still open"
    return f"No new failures for {quiet}. {still_open}."


def workers_lost(
    ages: Mapping[str, float], cleared: Mapping[str, str], open_keys: AbstractSet[str], link: Link, after: float
) -> Evaluation:
    """A worker is lost if it has sent no heartbeat for `after` seconds, and back with its next heartbeat.

    `ages` are the seconds since each worker's heartbeat, without workers that shut down or are forgotten. `cleared` maps workers
    that were cleared from the list to who did it.
    """
    holding = [
        Alert(
            name, f"Worker {name} is lost", f"It has sent no heartbeat for {after:.0f} s and did not shut down. "
            "Its tasks return to their queues.", link(name),
        )
        for name, age in sorted(ages.items()) if age >= after
    ]  # fmt: skip
    over = {name: f"{by} cleared it." for name, by in cleared.items() if name in open_keys and name not in ages}
    back = {name: "The worker is back online." for name, age in ages.items() if name in open_keys and age < after}
    return Evaluation(holding, over | back)


def queues_backing_up(
    oldest: Mapping[str, float | None],
    paused: AbstractSet[str],
    open_keys: AbstractSet[str],
    link: Link,
    others: str,
    after: float,
) -> Evaluation:
    """A queue is backing up if its oldest task has waited for `after` seconds, unless it is paused.

    One cause must not become thousands of notifications if each customer has a queue: `MAX_QUEUES` queues have their own, open
    ones first, and one more is about all others.

    Args:
        oldest: the seconds that each queue's oldest task has waited, None if none waits; empty if the queues are unknown.
        others: the page of all queues.
    """
    behind = {name: age for name, age in oldest.items() if age is not None and age >= after and name not in paused}
    ranked = sorted(behind, key=lambda name: (name not in open_keys, -behind[name], name))
    holding = [
        Alert(
            name, f"Queue {name} is backing up",
            f"Its oldest task had been waiting for {duration(behind[name])} when this was detected.", link(name),
        )
        for name in sorted(ranked[:MAX_QUEUES])
    ]  # fmt: skip
    over = dict.fromkeys(open_keys & paused, "The queue is paused.")
    if rest := ranked[MAX_QUEUES:]:
        holding.append(_others_behind([(name, behind[name]) for name in rest], others))
    elif oldest and OTHER_QUEUES in open_keys:
        over[OTHER_QUEUES] = f"At most {MAX_QUEUES} queues are backing up, each with its own notification."
    for name in open_keys - behind.keys() - paused - {OTHER_QUEUES}:
        if name in oldest:
            over[name] = f"No task has been waiting for {duration(after)} any longer."
        elif oldest:
            over[name] = "The queue is no longer used."
    return Evaluation(holding, over)


def _others_behind(rest: Sequence[tuple[str, float]], link: str) -> Alert:
    name, age = max(rest, key=lambda pair: pair[1])
    queues = "1 more queue is backing up" if len(rest) == 1 else f"{len(rest):,} more queues are backing up"
    body = f"In one of them, {name}, the oldest task had been waiting for {duration(age)} when this was detected."
    return Alert(OTHER_QUEUES, queues, body, link, len(rest))


def recorder_behind(lag: float, link: str, after: float) -> Evaluation:
    """The recorder is behind if the oldest report has waited for `after` seconds."""
    if lag < after:
        return Evaluation([], {"": "The recorder has caught up."})
    body = f"The oldest report had been waiting for {duration(lag)} when this was detected. Check that an engine is running."
    return Evaluation([Alert("", "The recorder is behind", body, link)])


def nodes_failed(
    failed: Mapping[str, tuple[str, str]], now: Mapping[str, str], open_keys: AbstractSet[str], link: Link
) -> Evaluation:
    """A node has failed while its status says so.

    Args:
        failed: the name and the reason of each failed node, by id.
        now: the current status, in a word, of each open key whose node still exists.
    """
    holding = [Alert(key, f"Node {name} failed", reason, link(key)) for key, (name, reason) in sorted(failed.items())]
    over = {key: f"The node is {now[key]}." if key in now else "The node was removed." for key in open_keys - failed.keys()}
    return Evaluation(holding, over)


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A Docker host: the seconds since its agent was seen (None: it was stopped), and why its Docker Engine is unreachable."""

    name: str
    silent: float | None
    engine_error: str = ""


def hosts_unreachable(hosts: Iterable[HostStatus], open_keys: AbstractSet[str], link: Link, after: float) -> Evaluation:
    """A host is unreachable if its agent has been silent for `after` seconds, or cannot reach its Docker Engine."""
    holding, over = [], dict.fromkeys(open_keys, "The host was removed.")
    for host in hosts:
        if host.silent is not None and host.silent >= after:
            body = f"Its agent has been silent for {duration(host.silent)}, so the state of its nodes is unknown."
            holding.append(Alert(host.name, f"Host {host.name} is unreachable", body, link(host.name)))
        elif host.silent is not None and host.engine_error:
            holding.append(Alert(host.name, f"Docker on {host.name} is unreachable", host.engine_error, link(host.name)))
        elif host.name in open_keys:
            over[host.name] = "Its agent was stopped." if host.silent is None else "The host is reachable again."
            continue
        over.pop(host.name, None)
    return Evaluation(holding, over)


def faults(by_part: Mapping[str, tuple[str, str]], open_keys: AbstractSet[str], link: str) -> Evaluation:
    """A fault holds while its part had one lately; `by_part` has the skipped item and the error of each."""
    holding = [
        Alert(part, f"{part} is failing", f"{f'It skipped {item}. ' if item else ''}{error}", link)
        for part, (item, error) in sorted(by_part.items())
    ]
    return Evaluation(holding, dict.fromkeys(open_keys - by_part.keys(), "No further errors."))


def set_aside(reasons: Mapping[str, str], open_keys: AbstractSet[str], link: str) -> Evaluation:
    """Something set aside holds while it is recent, or still there; `reasons` maps what it is to why."""
    holding = [Alert(what, f"{what} was set aside", why, link) for what, why in sorted(reasons.items())]
    return Evaluation(holding, dict.fromkeys(open_keys - reasons.keys(), "Nothing else was set aside."))
