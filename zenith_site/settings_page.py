"""The Settings page: the user's profile, theme, password and tokens. Administrators have further pages below it."""

from http import HTTPStatus
from typing import Any, Final, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, update_session_auth_hash
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pydantic import ValidationError

from zenith_site.auth.passwords import ThrottledPasswordChangeForm
from zenith_site.auth.permissions import OWN_TOKENS
from zenith_site.auth.token_api import TokenRequest, make_token, own_token, own_tokens, revoke_token
from zenith_site.auth.tokens import made_with
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import SCOPES, VIEW, Caller, Shows, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page
from zenith_site.models import Scope
from zenith_site.people_page import section_context
from zenith_site.version import VERSION

YEAR: Final = 365 * 24 * 3600
#: The user's tokens that the page lists at most, the newest first.
TOKENS_SHOWN: Final = 100
THEMES: Final = {"system": "System", "dark": "Dark", "light": "Light"}


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """The fields that people may change themselves."""

    class Meta:
        model = get_user_model()
        fields = ("first_name", "last_name", "email")


class TokenForm(forms.Form):
    """A token to create."""

    name = forms.CharField(max_length=60, label="Name", help_text="What uses the token.")
    scopes = forms.MultipleChoiceField(
        label="What it may do", choices=Scope.choices, initial=["read"], widget=forms.CheckboxSelectMultiple
    )
    applications = forms.MultipleChoiceField(
        label="Only these applications",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the token sees. Choose none for all that you see.",
    )
    expires_at = forms.DateField(
        label="Expires on", required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="Empty: never."
    )


@require_safe
def settings_page(request: HttpRequest) -> HttpResponse:
    """Show the user's own settings."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    context = {
        "form": ProfileForm(instance=cast(User, request.user)),
        "theme": request.COOKIES.get("theme", "system"),
        "themes": THEMES.items(),
        "tokens": own_tokens(caller, TOKENS_SHOWN),
        "limited_to": None if caller.applications is None else sorted(caller.applications),
        **section_context(caller),
        "version": VERSION,
    }
    return render_page(request, "settings/settings.html", context, fragments=["settings/_settings.html"])


@require_POST
def save_profile(request: HttpRequest) -> HttpResponse:
    """Save name and e-mail address."""
    authorize(request, VIEW, Shows.FILTERED)
    form = ProfileForm(request.POST, instance=cast(User, request.user))
    if form.is_valid():
        form.save()
        messages.success(request, "Saved.")
    else:
        messages.warning(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    return answer(request, "settings")


@require_POST
def save_theme(request: HttpRequest) -> HttpResponse:
    """Store the theme in a cookie, as static/js/theme.js does."""
    authorize(request, VIEW, Shows.FILTERED)
    theme = request.POST.get("theme", "")
    response = answer(request, "settings")
    if theme in ("dark", "light"):
        response.set_cookie("theme", theme, max_age=YEAR, samesite="Lax", secure=settings.ZENITH_HTTPS)
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """Change the user's own password, and end their other sessions."""
    authorize(request, VIEW, Shows.FILTERED)
    form = ThrottledPasswordChangeForm(request, cast(User, request.user), request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        update_session_auth_hash(request, form.save())
        messages.success(request, "Password changed. Your other sessions have ended.")
        return answer(request, "settings")
    response = ask(
        request, form, title="Change password", sentence="This ends your other sessions.", action=reverse("change_password"),
        button="Change password", back="settings",
    )  # fmt: skip
    if form.wait:
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response.headers["Retry-After"] = str(form.wait)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def make(request: HttpRequest) -> HttpResponse:
    """Ask for a token's name and scopes (GET), and create it (POST). It is shown only once."""
    caller = authorize(request, OWN_TOKENS, Shows.FILTERED)
    form = TokenForm(request.POST if request.method == "POST" else None)
    own_scopes = [(scope, label) for scope, label in Scope.choices if caller.may(SCOPES[scope])]
    cast(forms.MultipleChoiceField, form.fields["scopes"]).choices = own_scopes
    _offer_applications(form, caller)
    if request.method == "POST" and form.is_valid():
        try:
            token, raw = make_token(request, caller, _token_request(form.cleaned_data))
        except ValidationError as error:
            form.add_error(None, "; ".join(str(item["msg"]) for item in error.errors(include_url=False)))
        except InvalidInputError as error:
            add_problems(form, error)
        except StateConflictError as error:
            form.add_error(None, str(error))
        else:
            messages.warning(request, f"The token {token.name} is {raw} — copy it now, it will not be shown again.")
            return answer(request, "settings")
    return ask(
        request, form, title="New token", sentence="The token can do what you can, within these scopes.",
        action=reverse("make_token"), button="Create token", back="settings",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Ask before a token is revoked (GET), and revoke it (POST)."""
    caller = authorize(request, OWN_TOKENS, Shows.FILTERED)
    if request.method == "POST":
        messages.success(request, f"{revoke_token(request, caller, str(token_id)).name} was revoked.")
        return answer(request, "settings")
    others = made_with([own_token(caller, str(token_id)).pk]).count()
    sentences = ["Requests with this token will be refused.", "This cannot be undone."]
    if others:
        tokens = f"the {others} tokens that were made with it" if others > 1 else "the token that was made with it"
        sentences.insert(1, f"This also revokes {tokens}.")
    return confirm(
        request, title="Revoke token?", sentence=" ".join(sentences),
        action=reverse("revoke_token", args=[token_id]), button="Revoke token", back="settings",
    )  # fmt: skip


def _offer_applications(form: forms.Form, caller: Caller) -> None:
    """Offer the applications that the caller may see, if there are several."""
    names = [name for name in application_names() if caller.sees(name)]
    if len(names) > 1:
        cast(forms.MultipleChoiceField, form.fields["applications"]).choices = [(name, name) for name in names]
    else:
        del form.fields["applications"]


def _token_request(cleaned: dict[str, Any]) -> TokenRequest:
    ends = cleaned["expires_at"]
    return TokenRequest.model_validate(
        {
            "name": cleaned["name"], "scopes": cleaned["scopes"],
            "applications": cleaned.get("applications", []),
            "expires_at": f"{ends.isoformat()}T23:59:59+00:00" if ends else None,
        }
    )  # fmt: skip
