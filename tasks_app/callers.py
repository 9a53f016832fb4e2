"""Who asks, for pages and programs alike, and what they may do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

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


@dataclass(frozen=True)
class Caller:
    """A person with a session, or a program with a token that acts for a person.

    Attributes:
        name: for people to read, such as `admin` or `token billing (zen_Ab12…)`.
        key: what the rate limit counts by; a person's tokens each have their own.
        user: whose permissions apply.
    """

    name: str
    key: str
    user: "User"

    @classmethod
    def person(cls, user: "User") -> "Caller":
        """Return the caller that a session stands for."""
        return cls(name=user.get_username(), key=f"user:{user.pk}", user=user)

    def may(self, permission: str) -> bool:
        """Whether the caller's user has a permission; a token's scopes were checked before."""
        return self.user.has_perm(permission)


def caller_of(request: HttpRequest, permission: str) -> Caller:
    """Return who asks, once it is sure that they may.

    Asking for the caller takes a permission, so that no view can forget to check one.
    Raises PermissionDenied.
    """
    known = getattr(request, "auth", None)
    caller = known if isinstance(known, Caller) else Caller.person(cast("User", request.user))
    if not caller.may(permission):
        raise PermissionDenied(f"{caller.name} lacks the permission {permission}.")
    return caller
