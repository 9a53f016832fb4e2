"""Who may change whom, and how: one place for the rules that the pages and the admin's forms share.

1. Nobody changes somebody with a permission that they lack; superusers are changed by superusers only.
2. Nobody changes their own role, applications or account: so nobody raises their own rights.
3. Nobody gives a role with a permission that they lack.
4. Somebody who may administer everything always remains.

A deactivated user's sessions and tokens end at their next request, and open sockets within five seconds (watch.py); so do the
sessions of somebody whose password was reset.
"""

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from zenith_site.auth.permissions import ROLES
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import ADMINISTER, applications_of
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.models import ApplicationLimit

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: What each role allows, in words; `auth.permissions.ROLES` has the permissions.
ROLE_SENTENCES: Final = {
    "viewer": "Sees tasks, workers, queues and notifications, and changes nothing.",
    "operator": "Also dispatches and operates: tasks, queues, workers, notification rules.",
    "admin": "Also manages Docker hosts, users, tokens, brokers and channels, and reads the audit log.",
}
#: Bytes of randomness in a generated password.
_PASSWORD_BYTES: Final = 15


def may_touch(actor: "User", person: "User | None") -> bool:
    """Whether somebody may change this user: one who has no permission that they lack. Superusers are for superusers."""
    if actor.is_superuser or person is None or actor.pk == person.pk:
        return True
    return not person.is_superuser and actor.has_perms(_permissions_of(person))


def require_touch(actor: "User", person: "User") -> None:
    """Raise PermissionDenied unless somebody may change this user, and it is somebody else."""
    if not may_touch(actor, person):
        raise PermissionDenied(f"{person.get_username()} has permissions that you lack.")
    if actor.pk == person.pk:
        raise PermissionDenied("Nobody changes their own role, applications or account. Somebody else has to.")


def role_of(user: "User") -> str:
    """Return the greatest role of a user, whose groups should be read already; empty for none, which is as good as `viewer`."""
    names = {group.name for group in user.groups.all()}
    return next((role for role in reversed(ROLES) if role in names), "")


def roles_given_by(actor: "User") -> list[str]:
    """Return the roles that somebody may give: those whose permissions they have themselves."""
    return [role for role, permissions in ROLES.items() if actor.has_perms(permissions)]


@transaction.atomic
def create_user(actor: "User", name: str, *, email: str, role: str, applications: Iterable[str]) -> "tuple[User, str]":
    """Create a user; return them and their password, which is not stored in the clear.

    Raises InvalidInputError, or PermissionDenied for a role that the actor may not give.
    """
    _require_role(actor, role)
    names = _known_applications(applications)
    user = get_user_model()(username=name, email=email)
    password = _new_password(user)
    try:
        user.full_clean()
        with transaction.atomic():
            user.save(force_insert=True)
    except (ValidationError, IntegrityError) as error:
        raise InvalidInputError(*_problems(error)) from None
    _give(user, role, names)
    return user, password


@transaction.atomic
def change_access(actor: "User", person: "User", *, role: str, applications: Iterable[str]) -> None:
    """Give a user this role in place of their others, and limit them to these applications (none: all).

    Raises PermissionDenied, InvalidInputError, or StateConflictError if no administrator would remain.
    """
    require_touch(actor, person)
    _require_role(actor, role)
    _give(person, role, _known_applications(applications))
    require_an_administrator()


@transaction.atomic
def set_active(actor: "User", person: "User", active: bool) -> None:
    """Let a user in again, or shut them out with their sessions and tokens.

    Raises PermissionDenied, or StateConflictError if no administrator would remain.
    """
    require_touch(actor, person)
    person.is_active = active
    person.save(update_fields=["is_active"])
    require_an_administrator()


def reset_password(actor: "User", person: "User") -> str:
    """Give a user a new password, which ends their sessions, and return it. Raises PermissionDenied."""
    require_touch(actor, person)
    password = _new_password(person)
    person.save(update_fields=["password"])
    return password


def require_an_administrator() -> None:
    """Raise StateConflictError if nobody is left who may administer everything. Call it in the transaction of the change.

    Two changes at the same time wait for each other, so that each sees what the other did.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.ADMINISTRATORS])
    app, _, codename = ADMINISTER.partition(".")
    administer = Permission.objects.filter(content_type__app_label=app, codename=codename)
    may = Q(is_superuser=True) | Q(groups__permissions__in=administer) | Q(user_permissions__in=administer)
    users = get_user_model().objects.select_related("application_limit").filter(may, is_active=True).distinct()
    if not any(applications_of(user) is None for user in users):
        raise StateConflictError("No administrator would be left. Make somebody else an administrator first.")


def _permissions_of(person: "User") -> list[str]:
    """Return the permissions of a user, also of one who is not active at the moment."""
    granted = Permission.objects.filter(Q(user=person) | Q(group__user=person)).order_by().distinct()
    return [f"{app}.{codename}" for app, codename in granted.values_list("content_type__app_label", "codename")]


def _give(user: "User", role: str, applications: list[str]) -> None:
    user.groups.remove(*Group.objects.filter(name__in=ROLES))
    user.groups.add(Group.objects.get(name=role))
    # The admin's pages take staff; the role decides, unless somebody is a superuser.
    user.is_staff = user.is_superuser or role == "admin"
    user.save(update_fields=["is_staff"])
    ApplicationLimit.objects.update_or_create(user=user, defaults={"applications": applications})


def _require_role(actor: "User", role: str) -> None:
    if role not in ROLES:
        raise InvalidInputError(Problem("/role", f"takes {', '.join(ROLES)}"))
    if role not in roles_given_by(actor):
        raise PermissionDenied(f"You may not give the role {role}: it has permissions that you lack.")


def _known_applications(names: Iterable[str]) -> list[str]:
    chosen = sorted(set(names))
    known = set(application_names()) if chosen else set()
    if any(name not in known for name in chosen):
        raise InvalidInputError(Problem("/applications", "there is no application of this name"))
    return chosen


def _new_password(user: "User") -> str:
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    user.set_password(password)
    return password


def _problems(error: ValidationError | IntegrityError) -> list[Problem]:
    if isinstance(error, IntegrityError):
        return [Problem("/username", "is taken")]
    return [Problem(f"/{name}", " ".join(messages)) for name, messages in error.message_dict.items()]
