"""The fields of a dispatch form follow the schema of the task's arguments."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django import forms

from tasks_app.web.dispatch_forms import ARGUMENT, ValueField, arguments_form, given_arguments, initial_arguments

TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def entry(argument: dict[str, Any], *, required: bool = False) -> Any:
    schema = {"properties": {"note": argument}, "required": ["note"] if required else [], "additionalProperties": False}
    return SimpleNamespace(arguments_schema=schema, first_argument=None)


def field(argument: dict[str, Any], *, required: bool = False) -> forms.Field:
    return arguments_form(entry(argument, required=required)).fields[f"{ARGUMENT}note"]


def submitted(of: Any, initial: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments that a form gives if it is submitted as it is shown."""
    shown = {field.html_name: field.value() for field in arguments_form(of, initial=initial)}
    form = arguments_form(of, {name: value for name, value in shown.items() if value is not None})
    assert form.is_valid(), form.errors
    return given_arguments(of, form)


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


@pytest.mark.parametrize(
    "value",
    ["4711", "true", "null", "1e3", '"quoted"', "[1]", " 4711 ", " text ", "", "text", "{not JSON", 4711, True, None, ["a"]],
)
@pytest.mark.parametrize("argument", [{}, {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": "5"}])
def test_a_copy_of_any_value_is_submitted_as_it_was(argument: dict[str, Any], value: Any) -> None:
    for of in (entry(argument), entry(argument, required=True)):
        assert submitted(of, initial_arguments(of, {"note": value})) == {"note": value}


@pytest.mark.parametrize("default", ["5", "null", "text", 5, False])
def test_a_default_is_submitted_as_it_is(default: Any) -> None:
    of = entry({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}], "default": default})
    assert submitted(of) == {"note": default}


def test_what_is_left_empty_is_not_given() -> None:
    of = entry({})
    form = arguments_form(of, {f"{ARGUMENT}note": " "})
    assert form.is_valid()
    assert given_arguments(of, form) == {}


def test_a_copy_without_a_text_does_not_become_the_text_null() -> None:
    of = entry({**TEXT_OR_NULL, "default": None})
    assert submitted(of, initial_arguments(of, {"note": None})) == {}


def test_a_copy_of_an_optional_choice_has_it_chosen() -> None:
    of = entry({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}], "default": None})
    assert submitted(of, initial_arguments(of, {"note": "b"})) == {"note": "b"}


@pytest.mark.parametrize(
    ("name", "widget"),
    [
        ("password", forms.PasswordInput),
        ("api_token", forms.PasswordInput),
        ("private_key", forms.Textarea),
        ("note", forms.Textarea),
    ],
)
def test_a_secret_is_not_shown_while_it_is_typed(name: str, widget: type) -> None:
    schema = {"properties": {name: {"type": "string"}}, "required": [name], "additionalProperties": False}
    of: Any = SimpleNamespace(arguments_schema=schema, first_argument=None)
    made = arguments_form(of, {f"{ARGUMENT}{name}": "hunter2"})
    shown = made.fields[f"{ARGUMENT}{name}"].widget
    assert type(shown) is widget
    assert ("concealed" in str(made)) == (name == "private_key")
    # It is still there after the preview.
    assert "hunter2" in str(made)
    assert made.is_valid()
    assert given_arguments(of, made) == {name: "hunter2"}
