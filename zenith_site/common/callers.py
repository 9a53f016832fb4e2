"""The caller of a request, from a page or a program, and what they may do.

A caller may do what its user may *and*, with a token, only what the token's scopes cover. The required scope follows from the
permission, whatever the HTTP method.

Both may be limited to some applications. A view that does not say what it shows (`Shows`) refuses whoever may not see Zenith's
own application, so a new view is closed to them until somebody has thought about it.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from zenith_worker.wire.applications import NATIVE_NAME

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: View tasks, workers and queues.
VIEW: Final = "tasks_app.view_task"
#: Dispatch tasks.
DISPATCH: Final = "tasks_app.dispatch_task"
#: Cancel, retry, replay, discard and reschedule tasks; control queues and workers.
OPERATE: Final = "tasks_app.operate_task"
#: Manage Docker hosts and worker nodes.
INFRA: Final = "zenith_site.manage_infra"
#: Manage users, groups and everybody's tokens; read the audit log.
ADMINISTER: Final = "zenith_site.administer"

#: Permissions that concern all applications: whoever is limited to some has none of them.
_OF_ALL_APPLICATIONS: Final = frozenset({ADMINISTER, "zenith_site.view_auditentry"})

#: The scopes of tokens, in the order of display, and the permission that each one covers.
SCOPES: Final = {"read": VIEW, "dispatch": DISPATCH, "operate": OPERATE, "infra": INFRA, "admin": ADMINISTER}
_SCOPE_OF: Final = {permission: scope for scope, permission in SCOPES.items()}


class Rate(Protocol):
    """A rate limit: a number of calls in a number of seconds."""

    @property
    def count(self) -> int:
        """Calls in one window."""

    @property
    def seconds(self) -> int:
        """Length of the window."""


class Shows(Enum):
    """Whose tasks, workers and events a view shows or changes, and so which limited callers it is for."""

    #: Zenith's own application's: for those who may see that one.
    OWN = auto()
    #: All applications': only for callers without a limit.
    EVERYTHING = auto()
    #: Only what the caller may see, since the view filters, or nothing of any application: for everybody.
    FILTERED = auto()

    @classmethod
    def of(cls, application: str) -> "Shows":
        """Return what a view of one application shows, which still has to ask whether the caller sees it (`Caller.sees`)."""
        return cls.OWN if application == NATIVE_NAME else cls.FILTERED


#: The names of the applications that somebody may see; None for all.
Applications = frozenset[str] | None


def are_shown(shows: Shows, applications: Applications) -> bool:
    """Whether what a view shows is for callers who may see these applications."""
    return applications is None or shows is Shows.FILTERED or (shows is Shows.OWN and NATIVE_NAME in applications)


@dataclass(frozen=True)
class Caller:
    """A person with a session, or a program with a token that acts for a person.

    Attributes:
        name: for display, such as `admin` or `token billing (zen_Ab12…)`.
        key: what the rate limit counts by; each token has its own.
        user: the user whose permissions apply.
        scopes: what the token covers; None for a session, which only the permissions limit.
        rate_limit: the token's own limit of triggers; None for the default.
        applications: the names of the applications that the caller may see; None for all.
    """

    name: str
    key: str
    user: "User"
    scopes: frozenset[str] | None = None
    rate_limit: Rate | None = None
    applications: Applications = None

    @classmethod
    def person(cls, user: "User") -> "Caller":
        """Return the caller of a session; one query unless the user was read with their limit (auth/permissions.py)."""
        return cls(name=user.get_username(), key=f"user:{user.pk}", user=user, applications=applications_of(user))

    def sees(self, application: str) -> bool:
        """Whether the caller may see the application with this name."""
        return self.applications is None or application in self.applications

    def covers(self, permission: str) -> bool:
        """Whether the token's scopes cover a permission, whoever its user is."""
        return self.scopes is None or scope_of(permission) in self.scopes

    def may(self, permission: str) -> bool:
        """Whether the user has the permission and the token's scopes cover it."""
        if self.applications is not None and permission in _OF_ALL_APPLICATIONS:
            return False
        return self.covers(permission) and self.user.has_perm(permission)

    def require(self, permission: str, shows: Shows = Shows.OWN) -> None:
        """Raise PermissionDenied, which names what is missing, unless the caller has the permission and may see what is shown."""
        if not self.covers(permission):
            raise PermissionDenied(f"This token lacks the scope {scope_of(permission)!r}.")
        if not self.may(permission):
            raise PermissionDenied(f"{self.name} lacks the permission {permission}.")
        self._require_applications(shows)

    def _require_applications(self, shows: Shows) -> None:
        if self.applications is None or are_shown(shows, self.applications):
            return
        subject = "This shows all applications" if shows is Shows.EVERYTHING else "This is part of Zenith's own application"
        names = ", ".join(sorted(self.applications)) or "none that exists"
        raise PermissionDenied(f"{subject}; {self.name} is limited to: {names}.")


def scope_of(permission: str) -> str:
    """Return the scope that covers a permission: `admin` if no other does."""
    return _SCOPE_OF.get(permission, "admin")


def applications_of(user: "User | AnonymousUser") -> Applications:
    """Return the names of the applications that a user is limited to, or None. Superusers are never limited."""
    limit = None if user.is_superuser else getattr(user, "application_limit", None)
    return frozenset(limit.applications) if limit is not None and limit.applications else None


def authorize(request: HttpRequest, permission: str, shows: Shows = Shows.OWN) -> Caller:
    """Return the request's caller if they have the permission, and may see what the view shows. Raises PermissionDenied.

    Getting the caller requires a permission, so no view can forget to check one.
    """
    caller = known_caller(request)
    caller.require(permission, shows)
    return caller


def known_caller(request: HttpRequest) -> Caller:
    """Return the caller of an authenticated request, without checking a permission."""
    caller = getattr(request, "auth", None)
    return caller if isinstance(caller, Caller) else Caller.person(cast("User", request.user))


def refuse(request: HttpRequest, why: str, status: int | None = None) -> None:
    """Record for the audit log why the request is refused; `why` must hold no secret. The first reason counts.

    `status` is for a page whose response has another status than the refusal, such as a redirect with a message.
    """
    if not hasattr(request, "refused"):
        request.refused = (why, status)  # type: ignore[attr-defined]


def audit_details(request: HttpRequest, **details: Any) -> None:
    """Add numbers and ids, never a secret, to this request's entry in the audit log."""
    request.audit = {**getattr(request, "audit", {}), **details}  # type: ignore[attr-defined]


def audit_attempt(request: HttpRequest, **details: Any) -> None:
    """Add the same, and have the entry written even if the request fails."""
    request.audit_attempt = True  # type: ignore[attr-defined]
    audit_details(request, **details)
