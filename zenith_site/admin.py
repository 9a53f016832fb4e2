"""The admin for API tokens, and the way into the admin."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from zenith_site.auth.tokens import identity, new_raw
from zenith_site.models import ApiToken, Scope

if TYPE_CHECKING:
    # Generic for the type checker only.
    TokenModelForm = forms.ModelForm[ApiToken]
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
else:
    TokenModelForm = forms.ModelForm
    TokenModelAdmin = admin.ModelAdmin


@login_not_required
def login(request: HttpRequest) -> HttpResponseRedirect:
    """Send a stranger to the one login page; there is no second one to guard."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only staff may use the admin.")
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


class ApiTokenForm(TokenModelForm):
    """What a person chooses of a token; its key is chosen by chance."""

    scopes = forms.MultipleChoiceField(choices=Scope.choices, initial=[Scope.READ], widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "expires_at")


@admin.register(ApiToken)
class ApiTokenAdmin(TokenModelAdmin):
    """Tokens can be made and revoked. The key itself is shown once, right after it was made."""

    form = ApiTokenForm
    list_display = ("name", "shown", "user", "scopes", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("revoked_at",)
    search_fields = ("name", "prefix", "user__username")
    list_select_related = ("user",)
    readonly_fields = ("shown", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="token", ordering="prefix")
    def shown(self, token: ApiToken) -> str:
        """The part of the key that may be seen."""
        return f"{token.prefix}…" if token.prefix else "—"

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        """Make tokens open nothing any more; they stay in the list."""
        count = tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{count} revoked.", messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: "forms.ModelForm[Any]", change: bool) -> None:
        """Give a new token its key, and show it this once."""
        if change:
            super().save_model(request, obj, form, change)
            return
        raw = new_raw()
        for name, value in identity(raw).items():
            setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        self.message_user(request, f"The token is {raw} — copy it now, it is not shown again.", messages.WARNING)
