"""Which tasks can be dispatched, and what arguments each takes: read from the Celery registry."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tasks_app.errors import DrillsOffError, InvalidDispatchError
from zenith_site.common import jsonsafe
from zenith_site.common.application import import_tasks
from zenith_site.common.errors import Problem
from zenith_site.common.jsonsafe import escape

_STRICT = ConfigDict(strict=True)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class CatalogEntry:
    """A task that can be dispatched."""

    name: str
    description: str
    signature: inspect.Signature
    drill: bool
    max_retries: int | None

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """The arguments by name, as JSON Schema (2020-12): what `kwargs` of a dispatch may hold.

        What an annotation does not tell, or only tells Python, is left open.
        """
        parameters = self.signature.parameters.values()
        named = [item for item in parameters if item.kind not in _VARIADIC]
        schemas, definitions = _json_schemas(named)
        found: dict[str, Any] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {item.name: _described(schemas[item.name], item) for item in named},
            "required": [item.name for item in named if item.default is item.empty],
            "additionalProperties": any(item.kind == item.VAR_KEYWORD for item in parameters),
        }
        return {**found, "$defs": definitions} if definitions else found

    @property
    def first_argument(self) -> str | None:
        """The name of the argument that `data` fills, if the task takes any."""
        return next(iter(self.positional_names), None)

    @property
    def positional_names(self) -> list[str]:
        """The names of the arguments that can be given by position, in their order."""
        return [item.name for item in self.signature.parameters.values() if item.kind in _POSITIONAL]

    def problems(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Problem]:
        """Return what is wrong with these arguments for this task; pointers start at /args, /kwargs."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            return list(self._binding_problems(args, kwargs))
        positions = {name: index for index, name in enumerate(self.signature.parameters)}
        found = []
        for name, value in bound.arguments.items():
            in_kwargs = name in kwargs
            pointer = f"/kwargs/{escape(name)}" if in_kwargs else f"/args/{positions[name]}"
            found += _type_problems(self.signature.parameters[name], value, pointer)
        return found

    def _binding_problems(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Problem]:
        """Name each argument that does not fit, where `bind` only names the first."""
        parameters = self.signature.parameters.values()
        names = self.positional_names
        found = []
        if len(args) > len(names):
            found.append(Problem(f"/args/{len(names)}", f"{self.name} takes {len(names)} arguments"))
        for name in kwargs:
            if name not in self.signature.parameters:
                known = ", ".join(self.signature.parameters) or "none"
                found.append(Problem(f"/kwargs/{escape(name)}", f"no such argument; {self.name} takes: {known}"))
            elif name in names[: len(args)]:
                found.append(Problem(f"/kwargs/{escape(name)}", "given twice"))
        given = {*names[: len(args)], *kwargs}
        for item in parameters:
            if item.default is item.empty and item.name not in given and item.kind in _POSITIONAL:
                found.append(Problem(f"/kwargs/{escape(item.name)}", f"{self.name} needs this argument"))
        return found or [Problem("/kwargs", f"these arguments do not fit {self.name}")]


@cache
def entries() -> dict[str, CatalogEntry]:
    """Return every task of this process's registry by its name, sorted; `offered` has those that may be sent."""
    tasks = {name: task for name, task in import_tasks().tasks.items() if not name.startswith("celery.")}
    return {name: _entry(name, tasks[name]) for name in sorted(tasks)}


def offered() -> dict[str, CatalogEntry]:
    """Return what may be sent here: all entries, but drills only where the setting ZENITH_DRILLS is on."""
    return {name: entry for name, entry in entries().items() if settings.ZENITH_DRILLS or not entry.drill}


def refuse_drill(name: str) -> None:
    """Raise DrillsOffError for a drill where drills are off."""
    if name in entries() and name not in offered():
        raise DrillsOffError(name)


def get(name: str) -> CatalogEntry:
    """Return one entry. Raises InvalidDispatchError with the names for an unknown one, DrillsOffError for a drill that is off."""
    refuse_drill(name)
    try:
        return entries()[name]
    except KeyError:
        names = ", ".join(offered())
        raise InvalidDispatchError(Problem("/task", f"there is no task {name[:100]!r}; tasks are: {names}")) from None


def _entry(name: str, task: Any) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        description=inspect.getdoc(task.run) or "",
        signature=_signature(task.run),
        drill=bool(getattr(task, "drill", False)),
        max_retries=task.max_retries,
    )


def _signature(body: Callable[..., Any]) -> inspect.Signature:
    """Return a task's signature; annotations that only a type checker can resolve stay text."""
    try:
        return inspect.signature(body, eval_str=True)
    except Exception:  # evaluating text can raise anything
        return inspect.signature(body)


def _type_problems(parameter: inspect.Parameter, value: Any, pointer: str) -> list[Problem]:
    if parameter.annotation is parameter.empty:
        return []
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    values = list(value.values() if isinstance(value, dict) else value) if variadic else [value]
    found = []
    for item in values:
        try:
            _adapter(parameter.annotation).validate_python(item)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                path = "".join(f"/{escape(str(step))}" for step in detail["loc"])
                found.append(Problem(pointer + path, detail["msg"]))
    return found


def _json_schemas(parameters: Sequence[inspect.Parameter]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each parameter by name, and the definitions that they share."""
    inputs = [(item.name, "validation", _schema_adapter(item)) for item in parameters]
    schemas, shared = TypeAdapter.json_schemas(inputs)  # type: ignore[arg-type]
    found = {name: dict(schema) for (name, _), schema in schemas.items()}
    return found, shared.get("$defs", {})


def _schema_adapter(parameter: inspect.Parameter) -> TypeAdapter[Any]:
    """Return what describes a parameter; Any where JSON Schema cannot."""
    if parameter.annotation is parameter.empty:
        return TypeAdapter(Any)
    adapter = _adapter(parameter.annotation)
    try:
        adapter.json_schema()
    except Exception:  # a type of somebody else's may raise anything
        return TypeAdapter(Any)
    return adapter


def _described(schema: dict[str, Any], parameter: inspect.Parameter) -> dict[str, Any]:
    """Return a parameter's schema with its default, where that is JSON."""
    if parameter.default is parameter.empty or any(jsonsafe.problems(parameter.default)):
        return schema
    return {**schema, "default": parameter.default}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return what checks an annotation; one that pydantic does not know checks nothing."""
    try:
        return _kept_adapter(annotation)
    except TypeError:  # it cannot be hashed
        return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    # A model, dataclass or TypedDict brings its own configuration and takes no other.
    for config in (_STRICT, None):
        with suppress(Exception):
            adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=config)
            if adapter.pydantic_complete:
                return adapter
    return TypeAdapter(Any)


_kept_adapter = cache(_new_adapter)
