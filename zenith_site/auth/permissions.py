"""What people may do. This is the one place that grants anything beyond Django's own permissions.

| may | who |
|---|---|
| look at tasks (`tasks_app.view_task`) | every active user |
| dispatch tasks (`tasks_app.dispatch_task`) | who has the permission; superusers |
| the admin | staff, by the permissions of each model |

A token does what its user may, within its scopes: `read` for safe methods, `write` for others.
Views ask `user.has_perm()` and nothing else, so whatever backend an installation adds counts too.
"""

from typing import Any, Final

from django.contrib.auth.backends import BaseBackend

_EVERYBODY: Final = frozenset({"tasks_app.view_task"})


class EverybodyMayLook(BaseBackend):
    """Grants every active user what looking takes; it authenticates nobody."""

    def has_perm(self, user_obj: Any, perm: str, obj: object = None) -> bool:
        """Whether this backend grants the permission."""
        return user_obj.is_active and user_obj.is_authenticated and perm in _EVERYBODY
