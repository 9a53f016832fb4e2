"""What the admin shows and nobody may change by hand, and what its lists may be asked for."""

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
    """Lets the address of a list filter by what the list offers, and by nothing else.

    Django takes any column of the model: `?traceback__contains=h` would tell, letter by letter, what the pages hide.
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Whether a filter, the list's dates or the key is asked for."""
        offered = [*self.get_list_filter(request), self.date_hierarchy, "id", "pk"]
        names = {item[0] if isinstance(item, list | tuple) else item for item in offered}
        named = any(lookup == name or lookup.startswith(f"{name}__") for name in names if isinstance(name, str))
        return named and super().lookup_allowed(lookup, value, request)


class ReadOnlyAdmin(ClosedLookups):
    """Shows rows that nobody may add, change or delete by hand."""

    # Counting millions of rows costs more than the number is worth.
    show_full_result_count = False
    list_per_page = 50

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row to be looked at: in memory its secrets are hidden; nothing here writes it back."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            self.hide_secrets(found)
        return found

    def hide_secrets(self, row: Any) -> None:
        """Hide in memory what a row may tell, and cut what is long once it is masked."""
        for name in ("error_message", "message", "traceback"):
            if text := getattr(row, name, None):
                setattr(row, name, _bounded(mask_text(text)))
        for name in ("result", "task_args", "task_kwargs"):
            if text := getattr(row, name, None):
                setattr(row, name, _bounded(mask_json(text)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False


def _bounded(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + ELLIPSIS
