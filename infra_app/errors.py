"""What can go wrong with hosts and nodes, as types."""

from uuid import UUID

from zenith_site.common.errors import ZenithError


class InfraError(ZenithError):
    """The base of every error that the infrastructure raises on purpose."""


class NoHostOnlineError(InfraError):
    """No Docker host is online, so there is nothing to deploy to and nothing to look at."""

    def __init__(self) -> None:
        super().__init__("No Docker host is online.")


class UnknownGroupError(InfraError):
    """There is no group of nodes with this id, or it was removed."""

    def __init__(self, group_id: UUID) -> None:
        super().__init__(f"There is no group of nodes {group_id}.")
