"""What people may do, in one table; docs/security.md shows it to them.

Every active user may view tasks and manage their own tokens. Everything else requires one of Django's permissions, which three
groups bundle. Views call `authorize()` (zenith_site/common/callers.py), which relies on `user.has_perm()` alone, so a backend
that an installation adds counts too.
"""

from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from zenith_site.common.callers import ADMINISTER, DISPATCH, INFRA, OPERATE, VIEW

#: List, create and revoke one's own tokens. It has no row in Django's table, since everybody has it.
OWN_TOKENS: Final = "zenith_site.own_tokens"
#: Read the audit log; its page in the admin requires the same permission.
READ_AUDIT: Final = "zenith_site.view_auditentry"
EVERYBODY: Final = frozenset({VIEW, OWN_TOKENS})

_VIEWER: Final = (VIEW,)
_OPERATOR: Final = (*_VIEWER, DISPATCH, OPERATE)
_ADMIN: Final = (
    *_OPERATOR,
    INFRA,
    ADMINISTER,
    *(f"auth.{verb}_{model}" for model in ("user", "group") for verb in ("add", "change", "delete", "view")),
    *(f"zenith_site.{verb}_apitoken" for verb in ("add", "change", "delete", "view")),
    READ_AUDIT,
    *(
        f"tasks_app.view_{model}"
        for model in ("application", "taskevent", "batch", "attempt", "deadletter", "replayrun", "minuterollup")
    ),
    "django_celery_results.view_taskresult",
)
#: The groups, from least to most privileged; each includes the one before.
ROLES: Final = {"viewer": _VIEWER, "operator": _OPERATOR, "admin": _ADMIN}


class EverybodyMayLook(ModelBackend):
    """Django's own backend, which also grants every active user the permissions in EVERYBODY.

    They are checked first: a second backend beside Django's would cost two queries for each check.
    """

    def get_user(self, user_id: Any) -> Any:
        """Return an active user with the applications that they are limited to, in one query, or None."""
        user = get_user_model().objects.select_related("application_limit").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether this backend grants the permission."""
        if perm in EVERYBODY:
            return bool(user_obj.is_active and user_obj.is_authenticated)
        return super().has_perm(user_obj, perm, obj)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return the permissions of a user and their groups, in one query; Django's own backend needs two for each page."""
        if obj is not None or not user_obj.is_active or user_obj.is_anonymous or user_obj.is_superuser:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            own, through_groups = (
                Permission.objects.filter(**{path: user_obj}).order_by().values_list("content_type__app_label", "codename")
                for path in ("user", "group__user")
            )
            user_obj._perm_cache = {f"{app}.{codename}" for app, codename in own.union(through_groups)}
        permissions: set[str] = user_obj._perm_cache
        return permissions


def ensure_roles(using: str = "default") -> None:
    """Create the groups and add the permissions that they lack. Permissions that somebody added stay."""
    for role, names in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=role)
        by_name = Q()
        for name in names:
            app, _, codename = name.partition(".")
            by_name |= Q(content_type__app_label=app, codename=codename)
        group.permissions.add(*Permission.objects.using(using).filter(by_name))
