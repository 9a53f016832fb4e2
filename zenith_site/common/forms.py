"""What the pages' forms share: JSON as people type it, and errors of a dispatch beside the field that caused them."""

import json
from typing import Any

from django import forms

from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, InvalidJSONError


class _JSONField(forms.CharField):
    """A JSON value of one kind, typed as text; empty is an empty one."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
    kind: type[Any]
    refusal: str

    def clean(self, value: Any) -> Any:
        """Return the value."""
        text = super().clean(value)
        if not text:
            return self.kind()
        try:
            found = jsonsafe.parse(text.encode())
        except InvalidJSONError as error:
            raise forms.ValidationError("; ".join(problem.detail for problem in error.problems)) from None
        if not isinstance(found, self.kind):
            raise forms.ValidationError(self.refusal)
        return found

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field at first."""
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, self.kind) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether another value was typed, however it is laid out."""
        try:
            return bool(self.clean(data) != (initial or self.kind()))
        except forms.ValidationError:
            return True


class ObjectField(_JSONField):
    """A JSON object, typed as text; empty is an empty object."""

    kind = dict
    refusal = 'must be a JSON object, such as {"customer": 4711}'


class ListField(_JSONField):
    """A JSON list, typed as text; empty is an empty list."""

    kind = list
    refusal = 'must be a JSON list, such as [4711, "a4"]'


def add_problems(form: forms.Form, error: InvalidInputError) -> None:
    """Put each problem beside the field that its pointer begins with, else above the form."""
    for problem in error.problems:
        name, _, rest = problem.pointer.removeprefix("/").partition("/")
        where = f"{rest}: " if rest else ""
        form.add_error(name if name in form.fields else None, f"{where}{problem.detail}")
