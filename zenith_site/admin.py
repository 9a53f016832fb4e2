"""The admin for people, API tokens and the audit log, and the way into the admin."""

from collections.abc import Iterable
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
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

from zenith_site.auth import audit_list, people
from zenith_site.auth.tokens import identity, new_raw, revoke
from zenith_site.common.admin import ClosedLookups, ReadOnlyAdmin
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import audit_details
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.errors import StateConflictError
from zenith_site.models import ApiToken, ApplicationLimit, AuditEntry, Scope, load_makers

if TYPE_CHECKING:
    # Generic for the type checker only.
    TokenModelForm = forms.ModelForm[ApiToken]
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
    PeopleModelAdmin = UserAdmin[User]
    LimitModelForm = forms.ModelForm[ApplicationLimit]
    LimitInline = admin.StackedInline[ApplicationLimit, User]
else:
    TokenModelForm = forms.ModelForm
    TokenModelAdmin = admin.ModelAdmin
    PeopleModelAdmin = UserAdmin
    LimitModelForm = forms.ModelForm
    LimitInline = admin.StackedInline


@login_not_required
def login(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the one login page, so that there is no second one to guard."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only staff may use the admin.")
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


def change_password(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the one form that changes one's own password: a form that asks for the current one must be throttled."""
    return HttpResponseRedirect(reverse("change_password"))


class ApiTokenForm(TokenModelForm):
    """The editable fields of a token; its key is random."""

    scopes = forms.MultipleChoiceField(choices=Scope.choices, initial=[Scope.READ], widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "applications", "expires_at", "rate_limit")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["applications"] = applications_field(self.instance.applications, "Choose none for all that its user sees.")

    def clean(self) -> dict[str, Any]:
        """Refuse scopes and an expiry beyond those of the parent token: they would have no effect."""
        cleaned = super().clean() or self.cleaned_data
        makers = [maker for maker in self.instance.makers if maker is not None]
        lacking = [scope for scope in cleaned.get("scopes", ()) if any(scope not in maker.scopes for maker in makers)]
        if lacking:
            self.add_error("scopes", f"The parent token does not have: {', '.join(lacking)}.")
        end = min((maker.expires_at for maker in makers if maker.expires_at is not None), default=None)
        if end is not None and "expires_at" in cleaned and (cleaned["expires_at"] is None or cleaned["expires_at"] > end):
            self.add_error("expires_at", f"The parent token expires at {end:%Y-%m-%d %H:%M:%S}.")
        return cleaned


@admin.register(ApiToken)
class ApiTokenAdmin(ClosedLookups, TokenModelAdmin):
    """Create and revoke tokens. The key itself is shown once, right after its creation."""

    form = ApiTokenForm
    list_display = ("name", "shown", "user", "scopes", "made_with", "rate_limit", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("revoked_at",)
    search_fields = ("name", "prefix", "user__username")
    list_select_related = ("user",)
    readonly_fields = ("shown", "made_with", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="token", ordering="prefix")
    def shown(self, token: ApiToken) -> str:
        """Return the visible part of the key."""
        return f"{token.prefix}…" if token.prefix else "—"

    @admin.display(description="made with")
    def made_with(self, token: ApiToken) -> str:
        """Return the parent token, with which this one ends."""
        if not token.maker_ids:
            return "—"
        return str(token.made_by or "a deleted token")

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        """Revoke tokens and those made with them; they stay in the list."""
        count, others = revoke(tokens)
        audit_details(request, revoked=count, **({"made_with_them": others} if others else {}))
        self.message_user(request, f"{count} revoked.", messages.SUCCESS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Leave superusers' tokens to superusers."""
        tokens = super().get_queryset(request)
        return tokens if _is_superuser(request) else tokens.filter(user__is_superuser=False)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Load the parents of all listed tokens in one query."""
        changelist = super().get_changelist_instance(request)
        load_makers(list(changelist.result_list))
        return changelist

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer superusers as owners to superusers only: nobody may create a token that may do more than they may."""
        if not _is_superuser(request):
            kwargs["queryset"] = get_user_model().objects.filter(is_superuser=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: "forms.ModelForm[Any]", change: bool) -> None:
        """Give a new token its key, and show it once."""
        if change:
            audit_details(request, changed=form.changed_data)
            super().save_model(request, obj, form, change)
            return
        raw = new_raw()
        for name, value in identity(raw).items():
            setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        audit_details(request, created=str(obj), user=obj.user.get_username(), scopes=obj.scopes)
        self.message_user(request, f"The token is {raw} — copy it now, it will not be shown again.", messages.WARNING)


def applications_field(chosen: Iterable[str], help_text: str) -> forms.MultipleChoiceField:
    """Return the field with the applications to choose from; names that were chosen stay offered."""
    names = dict.fromkeys([*application_names(), *chosen])
    return forms.MultipleChoiceField(
        choices=[(name, name) for name in names], required=False, widget=forms.CheckboxSelectMultiple, help_text=help_text,
        initial=[*chosen],
    )  # fmt: skip


class ApplicationLimitForm(LimitModelForm):
    """The applications that a user may see."""

    class Meta:
        model = ApplicationLimit
        fields = ("applications",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["applications"] = applications_field(
            self.instance.applications, "What the user sees, on pages and through the API. Choose none for all applications."
        )


class ApplicationLimitInline(LimitInline):
    """A user's limit, on the user's page. Whoever may change a user may change it."""

    model = ApplicationLimit
    form = ApplicationLimitForm
    can_delete = False
    verbose_name_plural = "Limited to applications (superusers never are)"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the caller may change the user."""
        return request.user.has_perm("auth.change_user") and _may_change(request, obj)

    has_change_permission = has_view_permission = has_add_permission


admin.site.unregister(User)


@admin.register(User)
class PeopleAdmin(PeopleModelAdmin):
    """Django's user admin, with the rules of auth/people.py."""

    inlines = (ApplicationLimitInline,)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """Leave out the limit of a user who is only being created: Django asks for the name and the password first."""
        return super().get_inlines(request, obj) if obj is not None else ()

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save the limit, and name it in the audit log."""
        super().save_formset(request, form, formset, change)
        limits = [*formset.new_objects, *(limit for limit, _ in formset.changed_objects)]
        audit_details(request, **({"limited_to": limits[0].applications} if limits else {}))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Reserve for superusers the fields that would make somebody one; others assign groups, but not their own."""
        fixed = () if _is_superuser(request) else ("is_superuser", "user_permissions")
        own = ("is_active", "is_staff", "groups") if obj is not None and obj.pk == request.user.pk else ()
        return (*super().get_readonly_fields(request, obj), *fixed, *(() if _is_superuser(request) else own))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the groups as well, unless nobody would be left who may administer."""
        super().save_related(request, form, formsets, change)
        _require_an_administrator()

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete a user, unless nobody would be left who may administer."""
        super().delete_model(request, obj)
        _require_an_administrator()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete several users, unless nobody would be left who may administer."""
        with transaction.atomic():
            super().delete_queryset(request, queryset)
            _require_an_administrator()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the caller may change this user, which includes setting a password."""
        return _may_change(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the caller may delete this user."""
        return _may_change(request, obj) and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Apply the same rule to a bulk deletion."""
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        if not all(_may_change(request, user) for user in objs):
            lacking = {*lacking, "superuser"}
        return deleted, counts, lacking, protected


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    """The audit log, newest first; `?format=csv` or `?format=json` returns the same as a file."""

    list_display = ("at", "username", "token", "address", "action", "path", "status", "count", "detail")
    search_fields = ("=username", "=action", "=address", "path")
    list_filter = ("at", ("refusal", admin.EmptyFieldListFilter))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Return the page, or its list as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied("You need the permission to view the audit log.")
        audit_list.write_pending_refusals()
        kind = requested_format(request)
        filters = request.GET.copy()
        filters.pop("format", None)
        if kind is None:
            return super().changelist_view(request, {**(extra_context or {}), "file_query": filters.urlencode()})
        request.GET = filters  # type: ignore[assignment]
        try:
            entries = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters as error:
            raise BadRequest("This filter is not valid.") from error
        return download(kind, "audit-log", audit_list.COLUMNS, entries[:MOST].iterator())


def _is_superuser(request: HttpRequest) -> bool:
    return cast("User", request.user).is_superuser


def _may_change(request: HttpRequest, person: Any) -> bool:
    return people.may_touch(cast("User", request.user), person if isinstance(person, User) else None)


def _require_an_administrator() -> None:
    """Undo what the request did, by a refusal, if nobody is left who may administer."""
    try:
        people.require_an_administrator()
    except StateConflictError as error:
        raise PermissionDenied(str(error)) from error
