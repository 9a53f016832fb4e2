"""Saved views of the task list: who sees which, and saving, changing and deleting them.

Everybody has private ones. Shared ones belong to the people who may operate; whoever is limited to some applications sees only
those that are limited to one of these.
"""

from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tasks_app.models import SavedView
from tasks_app.models.saved_view import MAX_VIEW_QUERY
from zenith_site.common.callers import OPERATE, Caller
from zenith_site.common.errors import InvalidInputError, Problem

#: Private views that one person has at most, and shared ones in all.
MOST_OWN: Final = 30
MOST_SHARED: Final = 60


def views_of(caller: Caller) -> QuerySet[SavedView]:
    """Return the views that somebody sees: their own, and shared ones, by name; one query."""
    shared = Q(owner=None) if caller.applications is None else Q(owner=None, application__in=sorted(caller.applications))
    return SavedView.objects.filter(Q(owner=caller.user.pk) | shared)


def may_change(view: SavedView, caller: Caller) -> bool:
    """Whether somebody who sees a view may rename and delete it: their own, and shared ones if they may operate."""
    return not view.is_shared or caller.may(OPERATE)


@transaction.atomic
def save_view(name: str, query: str, application: str, caller: Caller, *, shared: bool) -> SavedView:
    """Store a view, in place of one with the same name. Raises InvalidInputError.

    Args:
        name: its name.
        query: the list's address after the question mark.
        application: the application that its filter is limited to, or empty.
        caller: who saves it.
        shared: whether others see it; the caller has to be allowed to operate.
    """
    if len(query) > MAX_VIEW_QUERY:
        raise InvalidInputError(Problem("", "this filter is too long to be saved"))
    if shared:
        _require_application(application, caller)
    place = {"owner": None, "application": application} if shared else {"owner": caller.user}
    values = {"query": query, "application": application, "saved_by": caller.name, "saved_at": timezone.now()}
    if view := SavedView.objects.select_for_update().filter(**place, name=name).first():
        SavedView.objects.filter(pk=view.pk).update(**values)
        return view
    _require_room(caller, shared=shared)
    return SavedView.objects.create(**{**place, **values}, name=name)


@transaction.atomic
def change_view(view: SavedView, name: str, caller: Caller, *, shared: bool) -> None:
    """Rename a view, and share it or take it back for oneself. Raises InvalidInputError."""
    if shared:
        _require_application(view.application, caller)
    if shared != view.is_shared:
        _require_room(caller, shared=shared)
    view.name, view.owner = name, None if shared else caller.user if view.is_shared else view.owner
    taken = SavedView.objects.filter(name=name, owner=view.owner).exclude(pk=view.pk)
    if (taken.filter(application=view.application) if shared else taken).exists():
        raise InvalidInputError(Problem("name", "there is another view of this name"))
    view.save(update_fields=["name", "owner"])


def _require_application(application: str, caller: Caller) -> None:
    """Refuse what the caller could share but not see."""
    if caller.applications is not None and application not in caller.applications:
        raise InvalidInputError(Problem("shared", "choose one application in the list first: you may not see all of them"))


def _require_room(caller: Caller, *, shared: bool) -> None:
    owner, most = (None, MOST_SHARED) if shared else (caller.user, MOST_OWN)
    if SavedView.objects.filter(owner=owner).count() >= most:
        whose = "shared views" if shared else "views of your own"
        raise InvalidInputError(Problem("name", f"there are {most} {whose} already; delete one first"))
