"""What people can be told of, and how much it matters."""

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How much it matters, the least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def sentence(self) -> str:
        """What it asks of people."""
        return _SEVERITIES[self]

    @property
    def rank(self) -> int:
        """Its place: a greater one matters more."""
        return list(Severity).index(self)


_SEVERITIES: Final = {
    Severity.INFO: "Good to know.",
    Severity.WARNING: "Somebody should look at it today.",
    Severity.CRITICAL: "Work has stopped or is at risk; somebody should look at it now.",
}


class Kind(StrEnum):
    """What a notification is about: each kind has its rule."""

    DEAD_LETTER = "dead-letter"
    WORKER_GONE = "worker-gone"
    QUEUE_AGE = "queue-age"
    STREAM_LAG = "stream-lag"
    NODE_FAILED = "node-failed"
    HOST_UNREACHABLE = "host-unreachable"
    FAULT = "fault"
    SET_ASIDE = "set-aside"

    @property
    def label(self) -> str:
        """Its name on a page."""
        return _LABELS[self]

    @property
    def sentence(self) -> str:
        """When there is one."""
        return _SENTENCES[self]


_LABELS: Final = {
    Kind.DEAD_LETTER: "New failure",
    Kind.WORKER_GONE: "Worker gone",
    Kind.QUEUE_AGE: "Queue backs up",
    Kind.STREAM_LAG: "Recorder behind",
    Kind.NODE_FAILED: "Node failed",
    Kind.HOST_UNREACHABLE: "Host unreachable",
    Kind.FAULT: "Zenith fails",
    Kind.SET_ASIDE: "Set aside",
}
_SENTENCES: Final = {
    Kind.DEAD_LETTER: "Tasks gave up for a cause that is new, or that had been quiet.",
    Kind.WORKER_GONE: "A worker stopped beating without saying goodbye.",
    Kind.QUEUE_AGE: "The oldest task of a queue has waited for too long.",
    Kind.STREAM_LAG: "What workers report is not recorded: pages show old news.",
    Kind.NODE_FAILED: "A worker node could not be started, or ends again and again.",
    Kind.HOST_UNREACHABLE: "The agent of a Docker host is silent, or cannot reach its engine.",
    Kind.FAULT: "A part of Zenith met an error that nobody foresaw; it tries again, and the others go on.",
    Kind.SET_ASIDE: "A report or a heartbeat could not be read, and was set aside.",
}


class Channel(StrEnum):
    """A way out of Zenith."""

    EMAIL = "email"
    SLACK = "slack"
    WEBHOOK = "webhook"

    @property
    def label(self) -> str:
        """Its name on a page."""
        return _CHANNELS[self]


_CHANNELS: Final = {Channel.EMAIL: "E-mail", Channel.SLACK: "Slack", Channel.WEBHOOK: "Webhook"}
