"""The pages of users, for administrators. The rules are in auth/people.py, which the admin's forms share."""

from typing import Any, Final, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from zenith_site.auth import people
from zenith_site.auth.permissions import READ_AUDIT, ROLES
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import ADMINISTER, Caller, Shows, applications_of, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page

PAGE: Final = 50
LIST: Final = "settings/_people.html"
PERSON: Final = "settings/_person.html"


class AccessForm(forms.Form):
    """A user's role and applications."""

    role = forms.ChoiceField(label="Role", widget=forms.RadioSelect)
    applications = forms.MultipleChoiceField(
        label="Only these applications", required=False, widget=forms.CheckboxSelectMultiple,
        help_text="What they see, on pages and through the API. Choose none for all.",
    )  # fmt: skip

    def __init__(self, data: Any, actor: User, person: User | None = None) -> None:
        chosen = sorted(applications_of(person) or ()) if person else []
        super().__init__(data, initial={"role": (person and people.role_of(person)) or "viewer", "applications": chosen})
        given = [(role, f"{role.capitalize()}: {people.ROLE_SENTENCES[role]}") for role in people.roles_given_by(actor)]
        cast(forms.ChoiceField, self.fields["role"]).choices = given
        names = list(dict.fromkeys([*application_names(), *chosen]))
        cast(forms.MultipleChoiceField, self.fields["applications"]).choices = [(name, name) for name in names]
        if len(names) < 2:
            del self.fields["applications"]


class NewPersonForm(AccessForm):
    """A user to create."""

    username = forms.CharField(
        label="User name", max_length=150, validators=[UnicodeUsernameValidator()],
        help_text="Letters, digits and @ . + - _", widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    email = forms.EmailField(label="E-mail address", required=False, max_length=254)
    field_order = ("username", "email", "role", "applications")


@require_safe
def users(request: HttpRequest) -> HttpResponse:
    """List the users by name, with role and applications."""
    caller = _authorize(request, "auth.view_user")
    query, cursor = request.GET.get("q", "").replace("\0", "")[:150], request.GET.get("cursor", "").replace("\0", "")[:150]
    found = get_user_model().objects.select_related("application_limit").prefetch_related("groups").order_by("username")
    if query:
        words = [Q(**{f"{name}__icontains": query}) for name in ("username", "first_name", "last_name", "email")]
        found = found.filter(words[0] | words[1] | words[2] | words[3])
    rows = list(found.filter(username__gt=cursor)[: PAGE + 1])
    shown = rows[:PAGE]
    following = {"q": query, "cursor": shown[-1].username} if len(rows) > PAGE else None
    context = {
        "people": [
            {"user": user, "role": people.role_of(user), "applications": sorted(applications_of(user) or ())} for user in shown
        ],
        "q": query,
        "filtered": bool(query),
        "first_url": f"?{urlencode({'q': query})}" if cursor else "",
        "next_url": f"?{urlencode(following)}" if following else "",
        "may_add": caller.may("auth.add_user"),
        **section_context(caller),
    }  # fmt: skip
    return render_page(request, "settings/people.html", context, fragments=[LIST])


@require_http_methods(["GET", "HEAD", "POST"])
def new_user(request: HttpRequest) -> HttpResponse:
    """Ask who the new user is (GET), and create them with a password that is shown once (POST)."""
    caller = _authorize(request, "auth.add_user")
    form = NewPersonForm(request.POST if request.method == "POST" else None, caller.user)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            user, password = people.create_user(
                caller.user, data["username"], email=data["email"], role=data["role"], applications=data.get("applications", ())
            )
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, created=user.username, role=data["role"], limited_to=data.get("applications", []))
            messages.warning(request, _password_message(user, password))
            return answer(request, reverse("user", args=[user.pk]), leave=True)
    return ask(
        request, form, title="New user", sentence="They get a generated password, which is shown once.",
        action=reverse("new_user"), button="Create user", back="users",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def user(request: HttpRequest, user_id: int) -> HttpResponse:
    """Show a user (GET), and change their role and applications (POST)."""
    caller = _authorize(request, "auth.view_user" if request.method != "POST" else "auth.change_user")
    person = _person(user_id)
    form = AccessForm(request.POST if request.method == "POST" else None, caller.user, person)
    if form.is_bound and form.is_valid():
        role, applications = form.cleaned_data["role"], form.cleaned_data.get("applications", ())
        try:
            people.change_access(caller.user, person, role=role, applications=applications)
        except (InvalidInputError, StateConflictError) as error:
            form.add_error(None, str(error))
        else:
            audit_details(request, changed=person.username, role=role, limited_to=list(applications))
            messages.success(request, f"{person.username} has the role {role} from their next request on.")
            return answer(request, reverse("user", args=[person.pk]), leave=True)
    changeable = people.may_touch(caller.user, person) and person.pk != caller.user.pk and caller.may("auth.change_user")
    context = {
        "person": person, "form": form, "role": people.role_of(person), "changeable": changeable,
        "is_self": person.pk == caller.user.pk, "roles": ROLES, "tokens": person.api_tokens.filter(revoked_at=None).count(),
        "applications": sorted(applications_of(person) or ()), **section_context(caller),
    }  # fmt: skip
    status = 422 if form.errors else 200
    return render_page(request, "settings/person.html", context, fragments=[PERSON], status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def activate(request: HttpRequest, user_id: int) -> HttpResponse:
    """Ask before a user is shut out or let in again (GET), and do it (POST)."""
    caller = _authorize(request, "auth.change_user")
    person = _person(user_id)
    people.require_touch(caller.user, person)
    active = not person.is_active
    if request.method == "POST":
        # What was asked counts, not what somebody else did meanwhile.
        active = request.POST.get("active") == "1"
        try:
            people.set_active(caller.user, person, active)
        except StateConflictError as error:
            messages.warning(request, str(error))
        else:
            audit_details(request, **{"activated" if active else "deactivated": person.username})
            messages.success(request, f"{person.username} is {'active' if active else 'shut out'}.")
        return answer(request, reverse("user", args=[person.pk]), leave=True)
    count = person.api_tokens.filter(revoked_at=None).count()
    tokens = "1 token" if count == 1 else f"{count} tokens"
    sentence = f"{person.username} can log in again, and their {tokens} work again."
    return confirm(
        request, title="Activate user?" if active else "Deactivate user?", danger=not active,
        sentence=sentence if active else f"{person.username} is logged out at once, and their {tokens} stop working.",
        action=reverse("activate_user", args=[person.pk]), button="Activate" if active else "Deactivate",
        back=reverse("user", args=[person.pk]), fields=[("active", "1" if active else "0")],
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def reset_password(request: HttpRequest, user_id: int) -> HttpResponse:
    """Ask before a user gets another password (GET), and show it once (POST)."""
    caller = _authorize(request, "auth.change_user")
    person = _person(user_id)
    people.require_touch(caller.user, person)
    if request.method == "POST":
        password = people.reset_password(caller.user, person)
        audit_details(request, password_reset=person.username)
        messages.warning(request, _password_message(person, password))
        return answer(request, reverse("user", args=[person.pk]), leave=True)
    return confirm(
        request, title="Reset password?", button="Reset password", back=reverse("user", args=[person.pk]),
        sentence=f"{person.username} gets a new password, which is shown once, and their sessions end. Their tokens stay.",
        action=reverse("reset_password", args=[person.pk]),
    )  # fmt: skip


def section_context(caller: Caller) -> dict[str, Any]:
    """Return what the pages of settings share: which of them the caller may see."""
    everything = caller.applications is None
    return {
        "sees_people": everything and caller.may(ADMINISTER) and caller.may("auth.view_user"),
        "sees_configuration": everything and caller.may(ADMINISTER),
        "sees_audit": caller.may(READ_AUDIT),
    }


def _authorize(request: HttpRequest, permission: str) -> Caller:
    """Return the caller if they administer, and have the permission that Django's admin takes for the same."""
    caller = authorize(request, ADMINISTER, Shows.EVERYTHING)
    caller.require(permission, Shows.EVERYTHING)
    return caller


def _person(user_id: int) -> User:
    everybody = get_user_model().objects.select_related("application_limit").prefetch_related("groups")
    return get_object_or_404(everybody, pk=user_id)


def _password_message(user: User, password: str) -> str:
    return f"The password of {user.username} is {password} — copy it now, it will not be shown again. They should change it."
