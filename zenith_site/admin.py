"""The admin for people, API tokens and the audit log, and the way into the admin."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

from zenith_site.auth import audit_list
from zenith_site.auth.tokens import identity, new_raw, revoke
from zenith_site.common.admin import ClosedLookups, ReadOnlyAdmin
from zenith_site.common.callers import audit_details
from zenith_site.common.downloads import MOST, download, wanted
from zenith_site.models import ApiToken, AuditEntry, Scope, load_makers

if TYPE_CHECKING:
    # Generic for the type checker only.
    TokenModelForm = forms.ModelForm[ApiToken]
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
    PeopleModelAdmin = UserAdmin[User]
else:
    TokenModelForm = forms.ModelForm
    TokenModelAdmin = admin.ModelAdmin
    PeopleModelAdmin = UserAdmin


@login_not_required
def login(request: HttpRequest) -> HttpResponseRedirect:
    """Send a stranger to the one login page; there is no second one to guard."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only staff may use the admin.")
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


def change_password(request: HttpRequest) -> HttpResponseRedirect:
    """Send people to the one form that changes their own password: where the current one is asked for, it can be guessed."""
    return HttpResponseRedirect(reverse("change_password"))


class ApiTokenForm(TokenModelForm):
    """What a person chooses of a token; its key is chosen by chance."""

    scopes = forms.MultipleChoiceField(choices=Scope.choices, initial=[Scope.READ], widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "expires_at", "rate_limit")

    def clean(self) -> dict[str, Any]:
        """Give a token that was made with another no more than that has: it would not count."""
        cleaned = super().clean() or self.cleaned_data
        makers = [maker for maker in self.instance.makers if maker is not None]
        lacking = [scope for scope in cleaned.get("scopes", ()) if any(scope not in maker.scopes for maker in makers)]
        if lacking:
            self.add_error("scopes", f"The token that made it lacks: {', '.join(lacking)}.")
        end = min((maker.expires_at for maker in makers if maker.expires_at is not None), default=None)
        if end is not None and "expires_at" in cleaned and (cleaned["expires_at"] is None or cleaned["expires_at"] > end):
            self.add_error("expires_at", f"The token that made it ends at {end:%Y-%m-%d %H:%M:%S}.")
        return cleaned


@admin.register(ApiToken)
class ApiTokenAdmin(ClosedLookups, TokenModelAdmin):
    """Tokens can be made and revoked. The key itself is shown once, right after it was made."""

    form = ApiTokenForm
    list_display = ("name", "shown", "user", "scopes", "made_with", "rate_limit", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("revoked_at",)
    search_fields = ("name", "prefix", "user__username")
    list_select_related = ("user",)
    readonly_fields = ("shown", "made_with", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="token", ordering="prefix")
    def shown(self, token: ApiToken) -> str:
        """The part of the key that may be seen."""
        return f"{token.prefix}…" if token.prefix else "—"

    @admin.display(description="made with")
    def made_with(self, token: ApiToken) -> str:
        """The token that it was made with, and ends with."""
        if not token.maker_ids:
            return "—"
        return str(token.made_by or "a token that is gone")

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        """Make tokens, and what was made with them, open nothing any more; they stay in the list."""
        count, others = revoke(tokens)
        audit_details(request, revoked=count, **({"made_with_them": others} if others else {}))
        self.message_user(request, f"{count} revoked.", messages.SUCCESS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Leave a superuser's tokens to superusers."""
        found = super().get_queryset(request)
        return found if _is_superuser(request) else found.filter(user__is_superuser=False)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Find the makers of all tokens that are shown in one query."""
        changes = super().get_changelist_instance(request)
        load_makers(list(changes.result_list))
        return changes

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Let nobody make a token that may more than they do: only superusers make one for a superuser."""
        if not _is_superuser(request):
            kwargs["queryset"] = get_user_model().objects.filter(is_superuser=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: "forms.ModelForm[Any]", change: bool) -> None:
        """Give a new token its key, and show it this once."""
        if change:
            audit_details(request, changed=form.changed_data)
            super().save_model(request, obj, form, change)
            return
        raw = new_raw()
        for name, value in identity(raw).items():
            setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        audit_details(request, created=str(obj), user=obj.user.get_username(), scopes=obj.scopes)
        self.message_user(request, f"The token is {raw} — copy it now, it is not shown again.", messages.WARNING)


admin.site.unregister(User)


@admin.register(User)
class PeopleAdmin(PeopleModelAdmin):
    """Django's, but that whoever is no superuser can neither make one nor touch one."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave what would make them one to superusers; the groups are for everybody else."""
        fixed = () if _is_superuser(request) else ("is_superuser", "user_permissions")
        return (*super().get_readonly_fields(request, obj), *fixed)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether they may, also for setting a password."""
        return _may_touch(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether they may delete this one."""
        return _may_touch(request, obj) and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Also where many are deleted at once."""
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        if not all(_may_touch(request, user) for user in objs):
            lacking = {*lacking, "superuser"}
        return deleted, counts, lacking, protected


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    """Who did what, and who was refused what, newest first; `?format=csv` or `json` is the same as a file."""

    list_display = ("at", "username", "token", "address", "action", "path", "status", "count", "detail")
    search_fields = ("=username", "=action", "=address", "path")
    list_filter = ("at", ("refusal", admin.EmptyFieldListFilter))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Return the page, or what it shows as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied("The audit log takes the permission to view it.")
        audit_list.write_pending_refusals()
        kind = wanted(request)
        asked = request.GET.copy()
        asked.pop("format", None)
        if kind is None:
            return super().changelist_view(request, {**(extra_context or {}), "file_query": asked.urlencode()})
        request.GET = asked  # type: ignore[assignment]
        try:
            entries = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters as error:
            raise BadRequest("The list cannot be filtered like that.") from error
        return download(kind, "audit-log", audit_list.COLUMNS, entries[:MOST].iterator())


def _is_superuser(request: HttpRequest) -> bool:
    return cast("User", request.user).is_superuser


def _may_touch(request: HttpRequest, person: Any) -> bool:
    return _is_superuser(request) or not getattr(person, "is_superuser", False)
