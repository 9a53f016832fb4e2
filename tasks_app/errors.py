"""What can go wrong with tasks, workers and queues, beside what can with any request."""

from zenith_site.common.errors import InvalidInputError, ZenithError


class InvalidDispatchError(InvalidInputError):
    """The dispatch asked for cannot be accepted; nothing was written."""


class IdempotencyConflictError(ZenithError):
    """The Idempotency-Key was used before with another request."""


class WorkerUnknownError(ZenithError):
    """No worker of this name has been heard of lately."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no worker {name[:100]!r}.")


class WorkerSilentError(ZenithError):
    """A worker did not answer in time; it may still do what it was told."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} did not answer within {seconds:g} s; it may still do it.")


class RateLimitedError(ZenithError):
    """The caller used up its share of the window."""

    def __init__(self, retry_after: int, limit: int, window: int, policy: str = "triggers") -> None:
        super().__init__(f"At most {limit} {policy} in {window} s; try again in {retry_after} s.")
        self.retry_after = retry_after
        self.limit = limit
        self.window = window
        self.policy = policy
