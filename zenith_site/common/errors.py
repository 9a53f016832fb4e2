"""What can go wrong with any request to Zenith, as types that carry the culprit."""

from dataclasses import dataclass


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


class InvalidJSONError(InvalidInputError):
    """What was sent is not JSON, or JSON that programs would read in different ways."""


class InvalidQueryError(InvalidInputError):
    """Parameters of a URL cannot be accepted; here a problem's pointer is the parameter's name."""


class StateConflictError(ZenithError):
    """What was asked for is not possible in the state that things are in; nothing was changed."""


class BrokerUnavailableError(ZenithError):
    """The broker did not answer; what is committed is published when it returns."""
