"""Who asks, for pages and programs alike, and what they may do.

A caller does what its user may *and*, where it comes with a token, what the token's scopes cover.
The scope belongs to the permission that is asked for, whatever the HTTP method.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Look at tasks, workers and queues.
VIEW: Final = "tasks_app.view_task"
#: Start tasks.
DISPATCH: Final = "tasks_app.dispatch_task"
#: Step in: cancel, retry, replay, discard, reschedule; control queues and workers.
OPERATE: Final = "tasks_app.operate_task"
#: Manage Docker hosts and worker nodes.
INFRA: Final = "zenith_site.manage_infra"
#: Manage users, groups and everybody's tokens; read the audit log.
ADMINISTER: Final = "zenith_site.administer"

#: What a token can be limited to, in the order in which people read it, and the permission each scope stands for.
SCOPES: Final = {"read": VIEW, "dispatch": DISPATCH, "operate": OPERATE, "infra": INFRA, "admin": ADMINISTER}
_SCOPE_OF: Final = {permission: scope for scope, permission in SCOPES.items()}


class Rate(Protocol):
    """So many calls in so many seconds, as in the settings."""

    @property
    def count(self) -> int:
        """Calls that one window holds."""

    @property
    def seconds(self) -> int:
        """Length of the window."""


@dataclass(frozen=True)
class Caller:
    """A person with a session, or a program with a token that acts for a person.

    Attributes:
        name: for people to read, such as `admin` or `token billing (zen_Ab12…)`.
        key: what the rate limit counts by; a person's tokens each have their own.
        user: whose permissions apply.
        scopes: what the token covers; None for a session, which nothing but the permissions limits.
        rate_limit: the token's own limit of triggers; None for the default.
    """

    name: str
    key: str
    user: "User"
    scopes: frozenset[str] | None = None
    rate_limit: Rate | None = None

    @classmethod
    def person(cls, user: "User") -> "Caller":
        """Return the caller that a session stands for."""
        return cls(name=user.get_username(), key=f"user:{user.pk}", user=user)

    def covers(self, permission: str) -> bool:
        """Whether the token's scopes cover a permission, whoever its user is."""
        return self.scopes is None or scope_of(permission) in self.scopes

    def may(self, permission: str) -> bool:
        """Whether the user has the permission and the token's scopes cover it."""
        return self.covers(permission) and self.user.has_perm(permission)

    def require(self, permission: str) -> None:
        """Raise PermissionDenied, saying what is missing, unless the caller may."""
        if not self.covers(permission):
            raise PermissionDenied(f"This token lacks the scope {scope_of(permission)!r}.")
        if not self.may(permission):
            raise PermissionDenied(f"{self.name} lacks the permission {permission}.")


def scope_of(permission: str) -> str:
    """Return the scope that covers a permission: `admin` for all that no other scope names."""
    return _SCOPE_OF.get(permission, "admin")


def authorize(request: HttpRequest, permission: str) -> Caller:
    """Return who asks, once it is sure that they may.

    Asking for the caller takes a permission, so that no view can forget to check one.
    Raises PermissionDenied.
    """
    caller = known_caller(request)
    caller.require(permission)
    return caller


def known_caller(request: HttpRequest) -> Caller:
    """Return who asks, of a request that has been authenticated; whether they may is another question."""
    known = getattr(request, "auth", None)
    return known if isinstance(known, Caller) else Caller.person(cast("User", request.user))


def refuse(request: HttpRequest, why: str, status: int | None = None) -> None:
    """Say why the request is refused, without a secret; the audit log tells it. The first reason stays.

    `status` is for a page that answers with another than it means, such as a redirect with a message.
    """
    if not hasattr(request, "refused"):
        request.refused = (why, status)  # type: ignore[attr-defined]


def audit_details(request: HttpRequest, **details: Any) -> None:
    """Add what was done, in numbers and ids and never a secret, to the entry that the audit log gets for this request."""
    request.audit = {**getattr(request, "audit", {}), **details}  # type: ignore[attr-defined]
