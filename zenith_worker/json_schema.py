"""JSON Schema (2020-12) of Python's annotations, without a library: what a form, and a check of arguments, need to know.

An annotation that cannot be evaluated, or that JSON Schema cannot express, accepts anything: `{}`.
"""

from __future__ import annotations

import collections
import collections.abc
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Final

Schema = dict[str, Any]

#: Levels of nested annotations; deeper ones accept anything.
DEEPEST: Final = 8
_ANYTHING: Final[Schema] = {}
_SCALARS: Final[dict[Any, Schema]] = {
    None: {"type": "null"},
    type(None): {"type": "null"},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    pathlib.Path: {"type": "string"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    # JSON may hold it as either.
    decimal.Decimal: {"anyOf": [{"type": "number"}, {"type": "string", "format": "decimal"}]},
}
_ARRAYS: Final = (
    list, set, frozenset, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set,
    collections.abc.MutableSet, collections.abc.Collection, collections.abc.Iterable,
)  # fmt: skip
#: What else of JSON may stand for one of these, if its items may be text: iterating a string or an object yields text.
_ALSO: Final = {
    collections.abc.Sequence: ["array", "string"], collections.abc.Collection: ["array", "string", "object"],
    collections.abc.Iterable: ["array", "string", "object"],
}  # fmt: skip
_OBJECTS: Final = (dict, collections.OrderedDict, collections.abc.Mapping, collections.abc.MutableMapping)
#: A bool is an int too, so it is first.
_KINDS: Final[dict[Any, str]] = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", (list, tuple): "array", dict: "object",
}  # fmt: skip
_UNIONS: Final = (typing.Union, getattr(types, "UnionType", typing.Union))


def schema_of(annotation: Any, scope: Mapping[str, Any]) -> Schema:
    """Return the schema of the values that an annotation allows. Never raises.

    Text in it is evaluated with the global names of `scope`.
    """
    try:
        return _schema(_evaluated(annotation, scope), 0)
    except Exception:  # evaluating an annotation, and asking a class what it is, can raise anything
        return _ANYTHING


def admitting(schema: Schema, default: Any) -> Schema:
    """Return the schema, widened if it refuses the parameter's own default, as in `x: int = None`.

    A default that is no JSON changes nothing.
    """
    kind = _kind(default)
    if kind is None or _admits(schema, default):
        return schema
    return _any_of([*schema.get("anyOf", [schema]), {"type": kind}])


def _admits(schema: Schema, value: Any) -> bool:
    """Whether a schema of this module allows a value of JSON."""
    if schema == _ANYTHING:
        return True
    if "anyOf" in schema:
        return any(_admits(choice, value) for choice in schema["anyOf"])
    if "enum" in schema:
        return any(_kind(choice) == _kind(value) and choice == value for choice in schema["enum"])
    kinds, kind = schema["type"], _kind(value)
    if kind not in (kinds if isinstance(kinds, list) else [kinds]) and (kinds, kind) != ("number", "integer"):
        return False
    if isinstance(value, (list, tuple)):
        return _admits_items(schema, value)
    return not isinstance(value, dict) or all(_admits(schema.get("additionalProperties", {}), item) for item in value.values())


def _admits_items(schema: Schema, values: Any) -> bool:
    if "prefixItems" in schema:
        return len(values) == schema["minItems"] and all(map(_admits, schema["prefixItems"], values))
    return all(_admits(schema.get("items", {}), value) for value in values)


def _kind(value: Any) -> str | None:
    """Return the type of a value in JSON, or None."""
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), None)


class _Annotated:
    def __init__(self, annotation: Any) -> None:
        self.__annotations__ = {"value": annotation}


def _evaluated(annotation: Any, scope: Mapping[str, Any]) -> Any:
    return typing.get_type_hints(_Annotated(annotation), dict(scope))["value"]


def _schema(annotation: Any, level: int) -> Schema:
    if level > DEEPEST:
        return _ANYTHING
    annotation = getattr(annotation, "__supertype__", annotation)  # typing.NewType
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return _of_class(annotation)
    if origin in _UNIONS:
        return _any_of([_schema(argument, level + 1) for argument in arguments])
    if origin is typing.Literal:
        return _enum(arguments)
    if origin is tuple:
        return _tuple(arguments, level)
    if origin in _ARRAYS:
        return _array(origin, _schema(arguments[0], level + 1))
    if origin in _OBJECTS:
        return _with("object", "additionalProperties", _schema(arguments[1], level + 1))
    return _ANYTHING


def _of_class(kind: Any) -> Schema:
    if isinstance(kind, collections.abc.Hashable) and kind in _SCALARS:
        return dict(_SCALARS[kind])
    if not isinstance(kind, type):
        return _ANYTHING
    if issubclass(kind, enum.Enum):
        return _enum([member.value for member in kind])
    if kind in _OBJECTS or _is_typed_dict(kind) or is_dataclass(kind) or _is_model(kind):
        return {"type": "object"}
    if kind in _ARRAYS or issubclass(kind, tuple):
        return _array(kind, _ANYTHING)
    return _ANYTHING


def _is_typed_dict(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def _is_model(kind: type) -> bool:
    """Whether a class is a model of pydantic, which need not be installed."""
    return any(base.__module__.partition(".")[0] == "pydantic" for base in kind.__mro__)


def _any_of(schemas: list[Schema]) -> Schema:
    distinct = [schema for number, schema in enumerate(schemas) if schema not in schemas[:number]]
    if _ANYTHING in distinct:
        return _ANYTHING
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _enum(values: Any) -> Schema:
    values = list(values)
    if not values or any(type(value) not in (str, int, float, bool, type(None)) for value in values):
        return _ANYTHING
    return {"enum": values}


def _array(kind: Any, items: Schema) -> Schema:
    may_be_text = items == _ANYTHING or _SCALARS[str] in items.get("anyOf", [items])
    return _with(_ALSO[kind] if kind in _ALSO and may_be_text else "array", "items", items)


def _tuple(arguments: tuple[Any, ...], level: int) -> Schema:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _with("array", "items", _schema(arguments[0], level + 1))
    items = [] if arguments == ((),) else [_schema(argument, level + 1) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _with(kind: str | list[str], member: str, schema: Schema) -> Schema:
    return {"type": kind, **({member: schema} if schema else {})}
