"""What can go wrong with hosts and nodes, as types."""

from http import HTTPStatus
from uuid import UUID

from zenith_site.common.errors import RETRY_AFTER, ZenithError


class InfraError(ZenithError):
    """The base of every error that the infrastructure raises on purpose."""


class NoHostOnlineError(InfraError):
    """No Docker host is online, so there is nothing to deploy to and nothing to look at."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = RETRY_AFTER

    def __init__(self) -> None:
        super().__init__("No Docker host is online.")

    @property
    def detail(self) -> str:
        """What a program is told: also that it may ask again."""
        return f"{self} Nothing was changed."


class UnknownGroupError(InfraError):
    """There is no group of nodes with this id, or it was removed."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, group_id: UUID | str) -> None:
        super().__init__(f"There is no group of nodes {str(group_id)[:100]!r}.")


class EngineError(InfraError):
    """A Docker engine did not do what it was asked to; the text is its own reason, for people."""


class EngineUnreachableError(EngineError):
    """The engine does not answer, or not in time."""


class EngineRefusedError(EngineError):
    """The engine answered that it will not."""


class NotThereError(EngineRefusedError):
    """The engine knows no such container, image, volume, network or service."""


class NameTakenError(EngineRefusedError):
    """The engine has something of this name already, or is just doing what was asked."""
