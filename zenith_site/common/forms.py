"""What the pages' forms share: JSON fields, and errors beside the field that caused them."""

import json
from typing import Any

from django import forms

from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, InvalidJSONError


class _JSONField(forms.CharField):
    """A JSON value of one kind, typed as text; an empty text is an empty value."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
    kind: type[Any]
    refusal: str

    def clean(self, value: Any) -> Any:
        """Return the value."""
        text = super().clean(value)
        if not text:
            return self.kind()
        try:
            parsed = jsonsafe.parse(text.encode())
        except InvalidJSONError as error:
            raise forms.ValidationError("; ".join(problem.detail for problem in error.problems)) from None
        if not isinstance(parsed, self.kind):
            raise forms.ValidationError(self.refusal)
        return parsed

    def prepare_value(self, value: Any) -> Any:
        """Return the field's initial text."""
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, self.kind) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the value differs; the layout of the text does not matter."""
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
    """Add each problem to the field that its pointer begins with, else to the form."""
    for problem in error.problems:
        name, _, rest = problem.pointer.removeprefix("/").partition("/")
        where = f"{rest}: " if rest else ""
        form.add_error(name if name in form.fields else None, f"{where}{problem.detail}")
