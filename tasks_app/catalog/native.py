"""Zenith's own tasks with their arguments, read from the Celery registry."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tasks_app.catalog.effort import Effort
from tasks_app.catalog.entry import DIALECT, CatalogEntry
from zenith_site.common import jsonsafe
from zenith_site.common.application import celery_app, import_tasks
from zenith_site.common.errors import Problem
from zenith_site.common.jsonsafe import escape
from zenith_worker.wire import routing

_STRICT = ConfigDict(strict=True)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class NativeEntry:
    """A task of Zenith's own application."""

    name: str
    description: str
    signature: inspect.Signature
    drill: bool
    max_retries: int | None

    @property
    def queue(self) -> str:
        """The queue that Celery's routing chooses."""
        return queue_of(self.name)

    @property
    def versions(self) -> int:
        """One: all processes have the same tasks."""
        return 1

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the arguments by name.

        Arguments without an annotation, or with one that JSON Schema cannot express, accept anything.
        """
        parameters = self.signature.parameters.values()
        named = [item for item in parameters if item.kind not in _VARIADIC]
        schemas, definitions = _json_schemas(named)
        schema: dict[str, Any] = {
            "$schema": DIALECT,
            "type": "object",
            "properties": {item.name: _described(schemas[item.name], item) for item in named},
            "required": [item.name for item in named if item.default is item.empty],
            "additionalProperties": any(item.kind == item.VAR_KEYWORD for item in parameters),
        }
        return {**schema, "$defs": definitions} if definitions else schema

    @property
    def first_argument(self) -> str | None:
        """The name of the argument that `data` fills, or None if the task takes none."""
        return next(iter(self.positional_names), None)

    @property
    def positional_names(self) -> list[str]:
        """The names of the positional arguments, in order."""
        return [item.name for item in self.signature.parameters.values() if item.kind in _POSITIONAL]

    @property
    def named_positions(self) -> Mapping[str, int]:
        """The positions of the arguments that may be given by position or by name."""
        parameters = enumerate(self.signature.parameters.values())
        return {item.name: index for index, item in parameters if item.kind == item.POSITIONAL_OR_KEYWORD}

    def problems(self, args: Sequence[Any], kwargs: Mapping[str, Any], effort: Effort | None = None) -> list[Problem]:
        """Return the problems of these arguments for this task, at any effort; pointers start with /args or /kwargs."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            return list(self._binding_problems(args, kwargs))
        positions = {name: index for index, name in enumerate(self.signature.parameters)}
        problems = []
        for name, value in bound.arguments.items():
            in_kwargs = name in kwargs
            pointer = f"/kwargs/{escape(name)}" if in_kwargs else f"/args/{positions[name]}"
            problems += _type_problems(self.signature.parameters[name], value, pointer)
        return problems

    def _binding_problems(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Problem]:
        """Return a problem for each argument that does not fit; `bind` names only the first."""
        parameters = self.signature.parameters.values()
        names = self.positional_names
        problems = []
        if len(args) > len(names):
            problems.append(Problem(f"/args/{len(names)}", f"{self.name} takes {len(names)} arguments"))
        for name in kwargs:
            if name not in self.signature.parameters:
                accepted = ", ".join(self.signature.parameters) or "none"
                problems.append(Problem(f"/kwargs/{escape(name)}", f"no such argument; {self.name} takes: {accepted}"))
            elif name in names[: len(args)]:
                problems.append(Problem(f"/kwargs/{escape(name)}", "given twice"))
        given_names = {*names[: len(args)], *kwargs}
        for item in parameters:
            if item.default is item.empty and item.name not in given_names and item.kind in _POSITIONAL:
                problems.append(Problem(f"/kwargs/{escape(item.name)}", f"{self.name} needs this argument"))
        return problems or [Problem("/kwargs", f"these arguments do not fit {self.name}")]


@cache
def entries() -> dict[str, CatalogEntry]:
    """Return every task in this process's registry by name, sorted, without Celery's own."""
    tasks = {name: task for name, task in import_tasks().tasks.items() if not name.startswith("celery.")}
    return {name: _entry(name, tasks[name]) for name in sorted(tasks)}


def queue_of(task_name: str) -> str:
    """Return the queue that Celery's routing chooses for a task of the registry."""
    task = celery_app().tasks[task_name]
    options = {"queue": task.queue} if getattr(task, "queue", None) else {}
    return routing.queue_of(celery_app(), task_name, options)


def _entry(name: str, task: Any) -> NativeEntry:
    return NativeEntry(
        name=name,
        description=inspect.getdoc(task.run) or "",
        signature=_signature(task.run),
        drill=bool(getattr(task, "drill", False)),
        max_retries=task.max_retries,
    )


def _signature(body: Callable[..., Any]) -> inspect.Signature:
    """Return a task's signature; annotations that cannot be evaluated stay text."""
    try:
        return inspect.signature(body, eval_str=True)
    except Exception:  # evaluating text can raise anything
        return inspect.signature(body)


def _type_problems(parameter: inspect.Parameter, value: Any, pointer: str) -> list[Problem]:
    if parameter.annotation is parameter.empty:
        return []
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    values = list(value.values() if isinstance(value, dict) else value) if variadic else [value]
    problems = []
    for item in values:
        try:
            _adapter(parameter.annotation).validate_python(item)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                path = "".join(f"/{escape(str(step))}" for step in detail["loc"])
                problems.append(Problem(pointer + path, detail["msg"]))
    return problems


def _json_schemas(parameters: Sequence[inspect.Parameter]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each parameter by name, and the definitions that they share."""
    inputs = [(item.name, "validation", _schema_adapter(item)) for item in parameters]
    schemas, shared = TypeAdapter.json_schemas(inputs)  # type: ignore[arg-type]
    return {name: dict(schema) for (name, _), schema in schemas.items()}, shared.get("$defs", {})


def _schema_adapter(parameter: inspect.Parameter) -> TypeAdapter[Any]:
    """Return the adapter that describes a parameter, or Any's if JSON Schema cannot express its type."""
    if parameter.annotation is parameter.empty:
        return TypeAdapter(Any)
    adapter = _adapter(parameter.annotation)
    try:
        adapter.json_schema()
    except Exception:  # a foreign type may raise anything
        return TypeAdapter(Any)
    return adapter


def _described(schema: dict[str, Any], parameter: inspect.Parameter) -> dict[str, Any]:
    """Return a parameter's schema, with its default if that is JSON."""
    if parameter.default is parameter.empty or any(jsonsafe.problems(parameter.default)):
        return schema
    return {**schema, "default": parameter.default}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return the adapter that validates an annotation; it accepts anything if pydantic does not know the type."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # the annotation is not hashable
        return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    # A model, dataclass or TypedDict has its own configuration and accepts no other.
    for config in (_STRICT, None):
        with suppress(Exception):
            adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=config)
            if adapter.pydantic_complete:
                return adapter
    return TypeAdapter(Any)


_cached_adapter = cache(_new_adapter)
