"""The errors of tasks, workers and queues."""

from http import HTTPStatus

from zenith_site.common.errors import InvalidInputError, StateConflictError, ZenithError


class InvalidDispatchError(InvalidInputError):
    """The dispatch request is invalid; nothing was written."""


class DrillsOffError(StateConflictError):
    """A drill was requested, but drills are off."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is a drill: it fails or crashes on purpose. Drills are off; set ZENITH_DRILLS=true to turn them on."
        )


class IdempotencyConflictError(ZenithError):
    """The Idempotency-Key was used before with another request."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    header = "Idempotency-Key"


class WorkerUnknownError(ZenithError):
    """No worker with this name has sent a heartbeat recently."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no worker {name[:100]!r}.")


class WorkerSilentError(ZenithError):
    """A worker did not answer in time; it may still carry out the command."""

    status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(self, name: str, seconds: float, *, is_busy: bool = False) -> None:
        why = " Its pool (solo) runs a task, and it reads commands between its tasks." if is_busy else ""
        super().__init__(f"{name} did not answer within {seconds:g} s; it may still carry out the command.{why}")


class PurgeUnansweredError(ZenithError):
    """A worker of an attached application took a purge and did not answer in time."""

    status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(self, application: str, seconds: float) -> None:
        super().__init__(
            f"A worker of {application} took the command and has not answered within {seconds:g} s. How much it has removed is"
            " not known; its log says so."
        )


class CommandWithdrawnError(ZenithError):
    """No worker of an attached application, or no observer of a watched one, took a command, so it was withdrawn."""

    status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(self, application: str, seconds: float, who: str = "worker") -> None:
        super().__init__(f"No {who} of {application} took the command within {seconds:g} s. It was withdrawn: nothing changes.")
