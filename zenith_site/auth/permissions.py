"""What people may do, in one table; docs/security.md shows it to them.

Every active user may look, and manage their own tokens. Anything else takes a permission of
Django's, which three groups bundle. Views ask `authorize()` (zenith_site/common/callers.py), which asks
`user.has_perm()` and nothing else, so whatever backend an installation adds counts too.
"""

from typing import Any, Final

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from zenith_site.common.callers import ADMINISTER, DISPATCH, INFRA, OPERATE, VIEW

#: List, create and revoke one's own tokens. No row of Django's stands for it, since nobody has to be given it.
OWN_TOKENS: Final = "zenith_site.own_tokens"
#: Read the audit log, as its page in the admin asks too.
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
    *(f"tasks_app.view_{model}" for model in ("taskevent", "batch", "attempt", "deadletter", "replayrun", "minuterollup")),
    "django_celery_results.view_taskresult",
)
#: The groups, from the one that may least; each may what the one before may.
ROLES: Final = {"viewer": _VIEWER, "operator": _OPERATOR, "admin": _ADMIN}


class EverybodyMayLook(ModelBackend):
    """Django's own backend, which grants every active user what nobody has to be given.

    It answers that first: a backend of its own beside Django's would cost two queries for each look.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether this backend grants the permission."""
        if perm in EVERYBODY:
            return bool(user_obj.is_active and user_obj.is_authenticated)
        return super().has_perm(user_obj, perm, obj)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return what a user and their groups were given: in one query, where Django's own takes two for each page."""
        if obj is not None or not user_obj.is_active or user_obj.is_anonymous or user_obj.is_superuser:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            own, through_groups = (
                Permission.objects.filter(**{path: user_obj}).order_by().values_list("content_type__app_label", "codename")
                for path in ("user", "group__user")
            )
            user_obj._perm_cache = {f"{app}.{codename}" for app, codename in own.union(through_groups)}
        found: set[str] = user_obj._perm_cache
        return found


def ensure_roles(using: str = "default") -> None:
    """Make the groups, and give them the permissions that they lack; what somebody added stays."""
    for role, names in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=role)
        wanted = Q()
        for name in names:
            app, _, codename = name.partition(".")
            wanted |= Q(content_type__app_label=app, codename=codename)
        group.permissions.add(*Permission.objects.using(using).filter(wanted))
