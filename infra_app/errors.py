"""The errors of hosts and nodes."""

from http import HTTPStatus
from uuid import UUID

from zenith_site.common.errors import RETRY_AFTER, ZenithError


class InfraError(ZenithError):
    """Base class of every error that infra_app raises on purpose."""


class NoHostOnlineError(InfraError):
    """No Docker host is online, so nothing can be deployed or inspected."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = RETRY_AFTER

    def __init__(self) -> None:
        super().__init__("No Docker host is online.")

    @property
    def detail(self) -> str:
        """The message for API clients, which says that a retry is safe."""
        return f"{self} Nothing was changed."


class UnknownGroupError(InfraError):
    """No node group has this id, or it was removed."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, group_id: UUID | str) -> None:
        super().__init__(f"There is no node group {str(group_id)[:100]!r}.")


class EngineError(InfraError):
    """A Docker Engine could not carry out a request; the message is its own reason, for people."""


class EngineUnreachableError(EngineError):
    """The engine does not answer, or does not answer in time."""


class EngineRefusedError(EngineError):
    """The engine refused the request."""


class NotThereError(EngineRefusedError):
    """The engine has no such container, image, volume, network or service."""


class NameTakenError(EngineRefusedError):
    """The name is in use on the engine, or the same operation is already in progress."""
