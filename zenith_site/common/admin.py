"""Base classes of the admin: read-only rows with masked secrets, and lists with a closed set of filters."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from zenith_site.common.masking import mask_json, mask_text
from zenith_site.common.previews import ELLIPSIS, SHOWN

if TYPE_CHECKING:
    # Generic for the type checker only.
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin


class ClosedLookups(AnyModelAdmin):
    """Accepts only the filters that a list offers.

    Django accepts any column of the model: `?traceback__contains=h` would reveal, letter by letter, what the pages mask.
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Whether the lookup is one of the list's filters, its dates or the key."""
        offered = [*self.get_list_filter(request), self.date_hierarchy, "id", "pk"]
        names = {item[0] if isinstance(item, list | tuple) else item for item in offered}
        is_offered = any(lookup == name or lookup.startswith(f"{name}__") for name in names if isinstance(name, str))
        return is_offered and super().lookup_allowed(lookup, value, request)


class ReadOnlyAdmin(ClosedLookups):
    """Shows rows that nobody may add, change or delete by hand."""

    # Counting millions of rows costs more than the number is worth.
    show_full_result_count = False
    list_per_page = 50

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row with its secrets masked in memory; nothing here writes it back."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            self.hide_secrets(row)
        return row

    def hide_secrets(self, row: Any) -> None:
        """Mask the secrets of a row in memory, and then shorten long values."""
        for name in ("error_message", "message", "traceback"):
            if text := getattr(row, name, None):
                setattr(row, name, _bounded(mask_text(text)))
        for name in ("result", "task_args", "task_kwargs"):
            if text := getattr(row, name, None):
                setattr(row, name, _bounded(mask_json(text)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: rows are read-only."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: rows are read-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: rows are read-only."""
        return False


def _bounded(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + ELLIPSIS
