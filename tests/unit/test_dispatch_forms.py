"""The fields of a dispatch form follow the schema of the task's arguments."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django import forms

from tasks_app.web.dispatch_forms import ARGUMENT, ValueField, arguments_form

TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def field(argument: dict[str, Any], *, required: bool = False) -> forms.Field:
    schema = {"properties": {"note": argument}, "required": ["note"] if required else [], "additionalProperties": False}
    return arguments_form(SimpleNamespace(arguments_schema=schema, first_argument=None)).fields[f"{ARGUMENT}note"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "kind", "help_text"),
    [
        ({**TEXT_OR_NULL, "default": None}, forms.CharField, "string, optional"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, forms.IntegerField, "integer, optional"),
        ({**TEXT_OR_NULL, "default": "x"}, ValueField, "any JSON value, optional"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ValueField, "any JSON value, optional"),
    ],
)
def test_an_optional_value_that_may_be_null_has_the_field_of_its_type(
    argument: dict[str, Any], kind: type, help_text: str
) -> None:
    made = field(argument)
    assert (type(made), made.help_text) == (kind, help_text)


def test_where_null_must_be_said_any_value_can_be_typed() -> None:
    assert type(field(TEXT_OR_NULL, required=True)) is ValueField
