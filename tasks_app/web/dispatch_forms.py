"""The forms of the Dispatch page: a task's arguments, made from its schema, and the options of every dispatch."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from django import forms

from tasks_app.catalog import CatalogEntry
from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, MAX_RETRIES, MAX_TIME_LIMIT
from tasks_app.dispatch.retries import why_not_retries
from tasks_app.models import Application
from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, InvalidJSONError
from zenith_site.common.forms import ObjectField, add_problems
from zenith_site.common.masking import is_secret
from zenith_worker.wire.queue_names import MAX_NAME

#: Prefix of an argument's field, so that it cannot clash with an option's.
ARGUMENT: Final = "arg-"
#: The field for arguments of any other name, if the task takes such.
OTHERS: Final = "others"
OPTIONS: Final = ("count", "queue", "priority", "not_before", "max_retries", "time_limit", "soft_time_limit", "expires_at")


class ValueField(forms.CharField):
    """A value of any type, as JSON; anything else is taken as text."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})

    def clean(self, value: Any) -> Any:
        """Return the value."""
        return _typed(super().clean(value))

    @staticmethod
    def shown(value: Any) -> str:
        """Return what is typed for a value: a text as it is, or as JSON if it would be taken as something else."""
        return value if isinstance(value, str) and _typed(value.strip()) == value else json.dumps(value)


class MomentField(forms.DateTimeField):
    """A time in UTC."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")
    input_formats = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M")

    def clean(self, value: Any) -> datetime | None:
        """Return the time with its zone."""
        moment: datetime | None = super().clean(value)
        return moment and moment.replace(tzinfo=UTC)


class OptionsForm(forms.Form):
    """Options that every dispatch accepts."""

    count = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_COUNT, label="Number of tasks", help_text="Leave empty for one."
    )
    queue = forms.CharField(required=False, max_length=MAX_NAME, label="Queue", help_text="Leave empty to use Celery's routing.")
    priority = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_PRIORITY, label="Priority", help_text="0 goes first."
    )
    not_before = MomentField(required=False, label="Not before", help_text="In UTC. The task is held back until then.")
    max_retries = forms.IntegerField(required=False, min_value=0, max_value=MAX_RETRIES, label="Retries")
    time_limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_TIME_LIMIT, label="Hard time limit (s)")
    soft_time_limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_TIME_LIMIT, label="Soft time limit (s)")
    expires_at = MomentField(required=False, label="Expires", help_text="In UTC. The task does not start after this time.")


def options_form(application: Application, data: Any, initial: dict[str, Any]) -> OptionsForm:
    """Return the form for the options of a dispatch to an application, without those that it decides itself."""
    form = OptionsForm(data, initial=initial)
    if not application.is_native:
        if why_not_retries(application):
            del form.fields["max_retries"]
        form.fields["queue"].help_text = f"Leave empty to use the routes of {application.name}."
        form.fields["priority"].help_text = "Which goes first depends on the broker: 0 with Redis, 9 with RabbitMQ."
    return form


def arguments_form(entry: CatalogEntry, data: Any = None, files: Any = None, initial: dict[str, Any] | None = None) -> forms.Form:
    """Return the form for a task's arguments, made from its schema; optional arguments left empty are not sent."""
    form = forms.Form(data, files, initial=initial)
    schema = entry.arguments_schema
    for name, argument in schema["properties"].items():
        form.fields[ARGUMENT + name] = _field(name, argument, required=name in schema["required"])
    first = entry.first_argument
    if first and schema["properties"].get(first, {}).get("type") == "string":
        form.fields[ARGUMENT + first].required = False
        form.fields["file"] = forms.FileField(required=False, label="…or a text file", help_text=f"Replaces {first}; up to 1 MB.")
        form.fields["lines"] = forms.BooleanField(required=False, label="One task per line")
    if schema["additionalProperties"]:
        form.fields[OTHERS] = ObjectField(required=False, label="Other arguments", help_text="A JSON object, by name.")
    return form


def initial_arguments(entry: CatalogEntry, values: dict[str, Any]) -> dict[str, Any]:
    """Return the initial data of a task's form for these arguments by name."""
    known = entry.arguments_schema["properties"]
    fields = arguments_form(entry).fields
    shown = {name: _initial(fields[name], value) for key, value in values.items() if (name := ARGUMENT + key) in fields}
    others = {name: value for name, value in values.items() if name not in known}
    return {**shown, OTHERS: others} if others else shown


def given_arguments(entry: CatalogEntry, form: forms.Form) -> dict[str, Any]:
    """Return the arguments by name that a valid form has."""
    required = entry.arguments_schema["required"]
    fields = {name.removeprefix(ARGUMENT): value for name, value in form.cleaned_data.items() if name.startswith(ARGUMENT)}
    given = {name: value for name, value in fields.items() if name in required or not _is_empty(form, ARGUMENT + name)}
    return {**form.cleaned_data.get(OTHERS, {}), **given}


def given_options(form: OptionsForm) -> dict[str, Any]:
    """Return the options that a valid form has."""
    return {name: value for name in OPTIONS if (value := form.cleaned_data.get(name)) not in (None, "")}


def add_errors(arguments: forms.Form, options: OptionsForm, error: InvalidInputError) -> None:
    """Add each problem to its field: an argument, an option, else to the form as a whole."""
    for problem in error.problems:
        parts = problem.pointer.removeprefix("/").split("/")
        name = ARGUMENT + parts[1] if parts[0] == "kwargs" and len(parts) > 1 else parts[0]
        if name in arguments.fields:
            arguments.add_error(name, problem.detail)
        elif parts[0] == "kwargs" and OTHERS in arguments.fields:
            arguments.add_error(OTHERS, f"{'/'.join(parts[1:])}: {problem.detail}")
        else:
            add_problems(options, InvalidInputError(problem))


def _is_empty(form: forms.Form, name: str) -> bool:
    """Whether a field was left empty. In one for any value, `null` and `""` are values that were typed."""
    if isinstance(form.fields[name], ValueField):
        return not form.data.get(name, "").strip()
    return form.cleaned_data[name] in (None, "")


def _field(name: str, argument: dict[str, Any], *, required: bool) -> forms.Field:
    if not required:
        argument = _unless_null(argument)
    help_text = argument.get("description") or _type_help(argument) + ("" if required else ", optional")
    field = _field_of_type(argument, label=name, required=required, help_text=help_text)
    if is_secret(name) and isinstance(field.widget, forms.Textarea):
        field.widget = _secret_widget(name)
    default = argument.get("default")
    field.initial = None if default is None else _initial(field, default)
    return field


def _secret_widget(name: str) -> forms.Widget:
    """Return a field that does not show what is typed. A key may have several lines, which a password field would join."""
    attrs = {"autocomplete": "new-password", "spellcheck": "false"}
    if "key" in name.lower() or "cert" in name.lower():
        return forms.Textarea(attrs={**attrs, "rows": 3, "class": "concealed"})
    # What was typed is still there after the preview, and if another field is refused.
    return forms.PasswordInput(attrs=attrs, render_value=True)


def _field_of_type(argument: dict[str, Any], **common: Any) -> forms.Field:
    kind = argument.get("type")
    if "enum" in argument:
        choices = [("", "—"), *((json.dumps(value), str(value)) for value in argument["enum"])]
        return forms.TypedChoiceField(choices=choices, coerce=json.loads, empty_value=None, **common)
    if kind == "integer":
        return forms.IntegerField(**common)
    if kind == "number":
        return forms.FloatField(**common)
    if kind == "boolean":
        choices = [("", "—"), ("true", "true"), ("false", "false")]
        return forms.TypedChoiceField(choices=choices, coerce=lambda value: value == "true", empty_value=None, **common)
    if kind == "string":
        return forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 4}), **common)
    return ValueField(**common)


def _unless_null(argument: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional argument's values besides null, if that is one type: null is what an empty field means."""
    others = [choice for choice in argument.get("anyOf", []) if choice.get("type") != "null"]
    if len(others) != 1 or argument.get("default") is not None:
        return argument
    return {**others[0], **{name: value for name, value in argument.items() if name != "anyOf"}}


def _type_help(argument: dict[str, Any]) -> str:
    kind = argument.get("type") or ("one of these" if "enum" in argument else "any JSON value")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _initial(field: forms.Field, value: Any) -> Any:
    """Return a value as its field shows it, so that it is the same if nobody changes it."""
    if isinstance(field, ValueField):
        return field.shown(value)
    is_plain = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
    return value if is_plain and not isinstance(field, forms.TypedChoiceField) else json.dumps(value)


def _typed(text: str) -> Any:
    """Return the value that is meant by what was typed: JSON, else text. Empty is None."""
    try:
        return jsonsafe.parse(text.encode()) if text else None
    except InvalidJSONError:
        return text
