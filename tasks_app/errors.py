"""What can go wrong with a request to Zenith, as types that carry the culprit."""

from dataclasses import dataclass

from kombu.exceptions import EncodeError


@dataclass(frozen=True)
class Problem:
    """One culprit: a JSON pointer (RFC 6901) into the input, and what is wrong there."""

    pointer: str
    detail: str


class ZenithError(Exception):
    """The base of every error that Zenith raises on purpose."""


class InvalidInputError(ZenithError):
    """What was given cannot be accepted; nothing was changed.

    `problems` names every culprit found.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{item.pointer}: {item.detail}" for item in problems))
        self.problems = problems


class InvalidDispatchError(InvalidInputError):
    """The dispatch asked for cannot be accepted; nothing was written."""


class InvalidJSONError(InvalidInputError):
    """What was sent is not JSON, or JSON that programs would read in different ways."""


class InvalidQueryError(InvalidInputError):
    """Parameters of a URL cannot be accepted; here a problem's pointer is the parameter's name."""


class IdempotencyConflictError(ZenithError):
    """The Idempotency-Key was used before with another request."""


class StateConflictError(ZenithError):
    """What was asked for is not possible in the state that things are in; nothing was changed."""


class WorkerUnknownError(ZenithError):
    """No worker of this name has been heard of lately."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no worker {name[:100]!r}.")


class WorkerSilentError(ZenithError):
    """A worker did not answer in time; it may still do what it was told."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} did not answer within {seconds:g} s; it may still do it.")


class PoisonTaskError(ZenithError):
    """A task killed its worker process too often to be tried again."""


class BrokerUnavailableError(ZenithError):
    """The broker did not answer; what is committed is published when it returns."""


class ResultTooLargeError(ZenithError, EncodeError):
    """A task returned more than `ZENITH_RESULT_MAX_BYTES` of JSON."""


class ResultNotJSONError(ZenithError, EncodeError):
    """A task returned something JSON cannot hold (or PostgreSQL cannot store as JSON)."""


class RateLimitedError(ZenithError):
    """The caller used up its share of the window."""

    def __init__(self, retry_after: int, limit: int, window: int, policy: str = "triggers") -> None:
        super().__init__(f"At most {limit} {policy} in {window} s; try again in {retry_after} s.")
        self.retry_after = retry_after
        self.limit = limit
        self.window = window
        self.policy = policy
