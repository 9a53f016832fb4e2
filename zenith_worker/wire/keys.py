"""The names of all keys in Redis. A name that ends in a colon is a prefix.

Zenith's own application has the keys of the constants below. Every other one has keys of its own for what its processes write
(`application_keys`), so which application an entry belongs to follows from where it lies, and never from its content.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: The prefix of all of Zenith's keys.
PREFIX: Final = "zenith:"

#: The stream of events, and the stream of entries that nobody could read or apply.
EVENTS: Final = "zenith:events"
UNREADABLE: Final = "zenith:events:unreadable"
#: + place: a recorder is at work there.
RECORDER: Final = "zenith:recorder:"
#: A hash of counters: batches of the recorders by size and delay.
RECORDER_STATS: Final = "zenith:recorder"

#: + task id: who may run the task (claims.py).
CLAIM: Final = "zenith:claim:"
#: + task id: attempt: how often its message was delivered again.
DELIVERIES: Final = "zenith:deliveries:"
#: + task id: attempt: how often its message was lost with a process before its body could start.
LOST: Final = "zenith:lost:"
#: + task id: why its process died the last time.
CRASH: Final = "zenith:crash:"

#: The set of workers' names, and + name: a worker's newest heartbeat.
WORKERS: Final = "zenith:workers"
WORKER: Final = "zenith:worker:"
#: + instance: exists while that run of a worker lives.
ALIVE: Final = "zenith:alive:"
#: + worker: who cleared a lost worker.
CLEARED: Final = "zenith:cleared:"
#: A hash of delivery tag → instance that took the message.
TAKEN: Final = "zenith:taken"
#: A hash of process → how many reports it dropped because it could not send them (buffer.py). Native workers drop none.
DROPPED: Final = "zenith:dropped"
#: What an application that may write only its own keys says of itself (applications.py); Zenith's own says nothing.
ABOUT: Final = "zenith:about"
#: A hash of digest → the tasks that an application's workers can run, as JSON (catalogues.py).
CATALOGUE: Final = "zenith:catalogue"
#: The set of paused queues.
PAUSED: Final = "zenith:paused"

#: The list of questions to the engines, and + token: the answer to one (questions.py).
QUESTIONS: Final = "zenith:questions"
ANSWER: Final = "zenith:answer:"

#: + name: what the observer of a watched application says of itself, as JSON (tasks_app/watching/observer_state.py).
OBSERVER: Final = "zenith:observer:"
#: + name: the queues that it measures, as JSON (tasks_app/watching/queue_state.py).
OBSERVED_QUEUES: Final = "zenith:observed-queues:"
#: + name: the list of what servers ask of an observer; and + token: who decided on a request first, and its answer
#: (tasks_app/watching/requests.py).
OBSERVER_REQUESTS: Final = "zenith:observer-requests:"
OBSERVER_TAKEN: Final = "zenith:observer-taken:"
OBSERVER_ANSWER: Final = "zenith:observer-answer:"
#: + name: what it knows of the application besides its workers' heartbeats, as JSON (tasks_app/watching/observed.py).
OBSERVED: Final = "zenith:observed:"

#: The stream of what tasks log (task_logs.py), and the sorted set of the tasks whose logs somebody reads: key → until when.
LOGS: Final = "zenith:logs"
LOGS_WATCHED: Final = "zenith:logs-watched"

#: Hashes by part of Zenith: its newest fault, and how many it has had.
FAULTS: Final = "zenith:faults"
FAULT_COUNTS: Final = "zenith:fault-counts"

#: Prefixes of the sliding windows for callers, and of those for logins by account and by address.
LIMIT: Final = "zenith:limit"
LOGIN_ACCOUNT: Final = "zenith:login:account:"
LOGIN_ADDRESS: Final = "zenith:login:address:"
#: Counted refusals for the audit log (zenith_site/auth/refusals.py); the names of two more hashes begin with it.
REFUSALS: Final = "zenith:refusals"

#: + node id: somebody watches the node's log; and the stream of its lines.
NODE_LOG_WATCHED: Final = "zenith:node-log-watched:"
NODE_LOG: Final = "zenith:node-log:"

#: kombu's own (kombu/transport/redis.py): a hash of delivery tag → [message, exchange, routing key]; when each was taken.
UNACKED: Final = "unacked"
UNACKED_INDEX: Final = "unacked_index"
#: The separator of a queue's name and a priority step in the name of a list.
PRIORITY_SEPARATOR: Final = "\x06\x16"

#: A hash of the applications that announced themselves: name → what its newest process says of itself, as JSON.
APPLICATIONS: Final = "zenith:applications"
#: Stands for Zenith's own application.
NATIVE: Final = ""


class ApplicationKeys(NamedTuple):
    """The keys that an application's processes use: its stream of events, its workers, what it says of itself, which tasks run,
    its questions, what its tasks log, and what Zenith asks of it. Zenith's own application is asked through its broker, so it has
    none of the last five."""

    events: str
    workers: str
    worker: str
    alive: str
    dropped: str
    about: str
    catalogue: str
    #: claims.py and deliveries.py; and questions.py. The constants of the same names explain them.
    claim: str
    deliveries: str
    lost: str
    crash: str
    questions: str
    answer: str
    #: task_logs.py: a stream of its own, so that a flood of lines delays no outcome.
    logs: str
    #: commands.py: the stream of commands, the sorted set of tasks that were handed over, and that of cancelled ones;
    #: and control.py: + token: what workers answered.
    commands: str = ""
    handed: str = ""
    cancelled: str = ""
    control: str = ""
    #: pauses.py: the names of its paused queues, as JSON.
    paused: str = ""


def application_prefix(application: str) -> str:
    """Return the prefix of the keys of an application other than Zenith's own."""
    return f"{PREFIX}app:{application}:"


def application_keys(application: str) -> ApplicationKeys:
    """Return the keys of an application by its name; NATIVE is Zenith's own."""
    if application == NATIVE:
        return _NATIVE_KEYS
    prefix = application_prefix(application)
    return ApplicationKeys(*(prefix + name for name in _NAMES))


_NAMES: Final = (
    "events", "workers", "worker:", "alive:", "dropped", "about", "catalogue", "claim:", "deliveries:", "lost:", "crash:",
    "questions", "answer:", "logs", "commands", "handed", "cancelled", "control:", "paused",
)  # fmt: skip
_NATIVE_KEYS: Final = ApplicationKeys(
    EVENTS, WORKERS, WORKER, ALIVE, DROPPED, ABOUT, CATALOGUE, CLAIM, DELIVERIES, LOST, CRASH, QUESTIONS, ANSWER, LOGS
)


class RecoveryKeys(NamedTuple):
    """The keys of an application's guard `recovery` in its own broker's Redis, behind the broker's key prefix: a hash of delivery
    tag → who took the message; + run of a worker: exists while that lives; which worker repairs at the moment."""

    taken: str
    alive: str
    lease: str


def recovery_keys(application: str) -> RecoveryKeys:
    """Return these keys of an application other than Zenith's own."""
    prefix = f"{PREFIX}recovery:{application}:"
    return RecoveryKeys(prefix + "taken", prefix + "alive:", prefix + "lease")


class _Own:
    """The application that this process belongs to."""

    name: str = NATIVE


def belong_to(application: str) -> None:
    """Set which application this process belongs to; without that it is Zenith's own."""
    _Own.name = application


def own_application() -> str:
    """Return the name of the application that this process belongs to; NATIVE for Zenith's own."""
    return _Own.name


def own_keys() -> ApplicationKeys:
    """Return the keys of the application that this process belongs to."""
    return application_keys(_Own.name)
