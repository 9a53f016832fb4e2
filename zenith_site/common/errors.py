"""The errors of any request to Zenith, as types that name the culprit."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final

#: Seconds after which to try again when a database, a broker or all Docker hosts are unreachable.
RETRY_AFTER: Final = 5


@dataclass(frozen=True)
class Problem:
    """One culprit: a JSON pointer (RFC 6901) into the input, and what is wrong there."""

    pointer: str
    detail: str


class ZenithError(Exception):
    """The base of every error that Zenith raises on purpose.

    Attributes:
        status: what the API answers with; None if no request should cause the error, so that it is a bug.
        retry_after: seconds after which to try again, if that may help.
        header: the name of the request's header field that is to blame, if one is.
    """

    status: ClassVar[HTTPStatus | None] = None
    retry_after: int | None = None
    header: ClassVar[str] = ""

    @property
    def detail(self) -> str:
        """The sentence in the API's answer."""
        return str(self)


class InvalidInputError(ZenithError):
    """The input cannot be accepted; nothing was changed.

    `problems` names every culprit.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{item.pointer}: {item.detail}" for item in problems))
        self.problems = problems


class InvalidJSONError(InvalidInputError):
    """The input is not JSON, or is JSON that programs read in different ways."""


class InvalidQueryError(InvalidInputError):
    """A URL's parameters cannot be accepted; a problem's pointer is the parameter's name."""


class StateConflictError(ZenithError):
    """The request is not possible in the current state; nothing was changed."""

    status = HTTPStatus.CONFLICT


class BrokerUnavailableError(ZenithError):
    """The broker does not answer; what is committed is published when it is back."""


class RateLimitedError(ZenithError):
    """The caller used up its share of the window."""

    def __init__(self, retry_after: int, limit: int, window: int, policy: str = "triggers") -> None:
        super().__init__(f"At most {limit} {policy} in {window} s; try again in {retry_after} s.")
        self.retry_after = retry_after
        self.limit = limit
        self.window = window
        self.policy = policy
