"""JSON Schema that strangers wrote, rebuilt from a small part of the language.

A rebuilt schema has only the keywords of _KEYWORDS, so checking values by it follows no reference and runs no regular expression;
effort.py bounds how long it takes. Every keyword narrows what fits: a schema without one that is not known here, or is too large,
accepts more, never less.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from zenith_site.common import jsonsafe

#: Bounds of one parameter's schema: levels and schemas inside it, beyond which anything is accepted; members of one list or
#: object; and characters of a text.
DEPTH_AT_MOST: Final = 10
SCHEMAS_AT_MOST: Final = 200
MEMBERS_AT_MOST: Final = 100
TEXT_KEPT: Final = 1000
#: Characters of a name: of a property, a format or a queue.
NAME_AT_MOST: Final = 255
#: Characters of the JSON of a default, a constant, or a list of choices.
VALUE_AT_MOST: Final = 10_000

#: In the place of a keyword's value: the schema does without it.
_DROPPED: Final = object()
_TYPES: Final = frozenset(("string", "integer", "number", "boolean", "array", "object", "null"))


def rebuilt(schema: Any) -> dict[str, Any]:
    """Return a schema without all that is not known here. Raises ValueError if what is known is invalid."""
    return _Rebuilding().schema(schema, DEPTH_AT_MOST)


def is_storable(value: Any) -> bool:
    """Whether a default or a constant is JSON that can be stored, and small."""
    return not any(jsonsafe.problems(value)) and _characters(value) <= VALUE_AT_MOST


def cut_text(text: Any, kept: int = TEXT_KEPT) -> str:
    """Return a text that can be stored and is not too long. Raises ValueError for anything else than text."""
    if type(text) is not str:
        raise ValueError("not text")
    return jsonsafe.storable_text(text[:kept])


def checked_name(name: Any) -> str:
    """Return a name as it is. Raises ValueError if it is not text, empty, too long, or cannot be stored."""
    if type(name) is not str or not 0 < len(name) <= NAME_AT_MOST:
        raise ValueError(f"not a name of at most {NAME_AT_MOST} characters")
    return jsonsafe.require_storable(name)


class _Rebuilding:
    """The rebuilding of one schema with all that are inside it, which are counted."""

    def __init__(self) -> None:
        self._left = SCHEMAS_AT_MOST

    def schema(self, schema: Any, levels: int) -> dict[str, Any]:
        if schema is True:
            return {}
        if type(schema) is not dict:
            raise ValueError("a schema is an object")
        if not levels or not self._left:
            return {}
        self._left -= 1
        values = {name: rebuild(self, schema[name], levels - 1) for name, rebuild in _KEYWORDS.items() if name in schema}
        if "patternProperties" in schema:
            values["additionalProperties"] = _DROPPED  # without the former it would refuse what they allow
        return {name: value for name, value in values.items() if value is not _DROPPED}

    def nested(self, schema: Any, levels: int) -> Any:
        return schema if type(schema) is bool else self.schema(schema, levels)

    def listed(self, schemas: Any, levels: int) -> Any:
        return [self.schema(item, levels) for item in _members(schemas, list, 0)] or _DROPPED

    def properties(self, schemas: Any, levels: int) -> Any:
        return {checked_name(name): self.schema(item, levels) for name, item in _members(schemas, dict, 0).items()}

    def types(self, types: Any, _: int) -> Any:
        names = [types] if type(types) is str else _members(types, list)
        if not all(type(name) is str and name in _TYPES for name in names) or len(set(names)) < len(names):
            raise ValueError("no types of JSON")
        return types

    def names(self, names: Any, _: int) -> Any:
        return list(dict.fromkeys(checked_name(name) for name in _members(names, list, 0)))

    def choices(self, values: Any, _: int) -> Any:
        if type(values) is not list or not values:
            raise ValueError("no choices")
        return values if is_storable(values) else _DROPPED

    def value(self, value: Any, _: int) -> Any:
        return value if is_storable(value) else _DROPPED

    def count(self, value: Any, _: int) -> Any:
        if type(value) is not int or value < 0:
            raise ValueError("no count")
        return min(value, jsonsafe.SAFE_INTEGER)

    def text(self, text: Any, _: int) -> Any:
        return cut_text(text)

    def named(self, name: Any, _: int) -> Any:
        return checked_name(name)


_KEYWORDS: Final[Mapping[str, Callable[[_Rebuilding, Any, int], Any]]] = {
    "type": _Rebuilding.types,
    "properties": _Rebuilding.properties,
    "required": _Rebuilding.names,
    "additionalProperties": _Rebuilding.nested,
    "items": _Rebuilding.nested,
    "prefixItems": _Rebuilding.listed,
    "minItems": _Rebuilding.count,
    "maxItems": _Rebuilding.count,
    "anyOf": _Rebuilding.listed,
    "enum": _Rebuilding.choices,
    "const": _Rebuilding.value,
    "format": _Rebuilding.named,
    "description": _Rebuilding.text,
    "default": _Rebuilding.value,
}


def _members(value: Any, kind: type[Any], at_least: int = 1) -> Any:
    if not isinstance(value, kind) or not at_least <= len(value) <= MEMBERS_AT_MOST:
        raise ValueError(f"no {kind.__name__} of {at_least} to {MEMBERS_AT_MOST} members")
    return value


def _characters(value: Any) -> int:
    """Return about how many characters a value's JSON has."""
    if isinstance(value, dict):
        return 2 + sum(len(name) + 4 + _characters(item) for name, item in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + _characters(item) for item in value)
    return len(value) + 2 if isinstance(value, str) else 8
