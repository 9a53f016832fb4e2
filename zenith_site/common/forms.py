"""What the pages' forms share: JSON as people type it, and errors of a dispatch beside the field that caused them."""

import json
from typing import Any

from django import forms

from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, InvalidJSONError


class ObjectField(forms.CharField):
    """A JSON object, typed as text; empty is an empty object."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def clean(self, value: Any) -> dict[str, Any]:
        """Return the object."""
        text = super().clean(value)
        if not text:
            return {}
        try:
            found = jsonsafe.parse(text.encode())
        except InvalidJSONError as error:
            raise forms.ValidationError("; ".join(problem.detail for problem in error.problems)) from None
        if not isinstance(found, dict):
            raise forms.ValidationError('must be a JSON object, such as {"customer": 4711}')
        return found

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field at first."""
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else value


def add_problems(form: forms.Form, error: InvalidInputError) -> None:
    """Put each problem beside the field that its pointer begins with, else above the form."""
    for problem in error.problems:
        name, _, rest = problem.pointer.removeprefix("/").partition("/")
        where = f"{rest}: " if rest else ""
        form.add_error(name if name in form.fields else None, f"{where}{problem.detail}")
