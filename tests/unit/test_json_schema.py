"""The JSON Schema of annotations, which an attached application's worker reads without a library."""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Collection, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import pydantic
import pytest

from zenith_worker.json_schema import DEEPEST, admitting, schema_of


class Colour(enum.Enum):
    RED, BLUE = "red", 2


class Odd(enum.Enum):
    THING = object()


class Point(NamedTuple):
    x: int


class Shape(TypedDict):
    x: int


@dataclass
class Order:
    number: int


class Model(pydantic.BaseModel):
    number: int


class Raises(type):
    def __hash__(cls) -> int:
        raise RuntimeError("no")

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no")


class Hostile(metaclass=Raises):
    pass


Number = NewType("Number", int)
STRING, INTEGER = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, STRING), (int, INTEGER), (float, {"type": "number"}), (bool, {"type": "boolean"}), (None, {"type": "null"}),
        ("int", INTEGER), ("list[int]", {"type": "array", "items": INTEGER}), ("Number", INTEGER),
        (list, {"type": "array"}), (list[Any], {"type": "array"}), (typing.List[str], {"type": "array", "items": STRING}),  # noqa: UP006
        (Sequence[int], {"type": "array", "items": INTEGER}), (set[int], {"type": "array", "items": INTEGER}),
        (Sequence[str], {"type": ["array", "string"], "items": STRING}), (Sequence, {"type": ["array", "string"]}),
        (Iterable[str], {"type": ["array", "string", "object"], "items": STRING}),
        (Collection[Union[str, int]], {"type": ["array", "string", "object"], "items": {"anyOf": [STRING, INTEGER]}}),  # noqa: UP007
        (Iterable[Any], {"type": ["array", "string", "object"]}),
        (MutableSequence[str], {"type": "array", "items": STRING}),
        (tuple, {"type": "array"}), (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (tuple[int, str], {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2}),
        (dict, {"type": "object"}), (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
        (Mapping[str, Any], {"type": "object"}),
        (Optional[int], {"anyOf": [INTEGER, {"type": "null"}]}), (Union[int, str, int], {"anyOf": [INTEGER, STRING]}),  # noqa: UP007, UP045
        (int | None, {"anyOf": [INTEGER, {"type": "null"}]}), ("int | None", {"anyOf": [INTEGER, {"type": "null"}]}),
        (Union[int, Any], {}),  # noqa: UP007
        (Literal["a", 1, None], {"enum": ["a", 1, None]}), (Literal[b"a"], {}), (Colour, {"enum": ["red", 2]}), (Odd, {}),
        (datetime.datetime, {"type": "string", "format": "date-time"}), (datetime.date, {"type": "string", "format": "date"}),
        (datetime.time, {"type": "string", "format": "time"}), (uuid.UUID, {"type": "string", "format": "uuid"}),
        (decimal.Decimal, {"anyOf": [{"type": "number"}, {"type": "string", "format": "decimal"}]}),
        (Annotated[int, "of things"], INTEGER), (Number, INTEGER),
        (Shape, {"type": "object"}), (Order, {"type": "object"}), (Model, {"type": "object"}), (Point, {"type": "array"}),
        # Anything goes.
        (Any, {}), (object, {}), (bytes, {}), (TypeVar("T"), {}), (type, {}), (Hostile, {}), (7, {}), ("", {}), ("Unknown", {}),
        ("1 / 0", {}), ("list[Unknown]", {}), (typing.Callable[[int], int], {}),
    ],
    ids=str,
)  # fmt: skip
def test_an_annotation_has_the_schema_of_its_values(annotation: Any, schema: dict[str, Any]) -> None:
    assert schema_of(annotation, globals()) == schema


def test_what_is_nested_deeper_than_anybody_reads_is_anything() -> None:
    annotation: Any = int
    for _ in range(DEEPEST + 5):
        annotation = list[annotation]
    schema = schema_of(annotation, {})
    for _ in range(DEEPEST):
        schema = schema["items"]
    assert schema == {"type": "array"}


NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("annotation", "default", "also"),
    [
        (int, None, NULL), (Union[int, str], None, NULL), (int, "auto", STRING), (int, False, {"type": "boolean"}),  # noqa: UP007
        (Literal[1, "a"], None, NULL), (Literal[1], True, {"type": "boolean"}), (Colour, "green", STRING), (str, 7, INTEGER),
        (list[str], [1], {"type": "array"}), (tuple[int, str], (), {"type": "array"}), (list[int], {}, {"type": "object"}),
        (dict[str, int], {"a": "b"}, {"type": "object"}), (int, 1.5, {"type": "number"}), (list, "a", STRING),
    ],
    ids=str,
)  # fmt: skip
def test_a_default_of_another_type_is_allowed_too(annotation: Any, default: Any, also: dict[str, Any]) -> None:
    schema = schema_of(annotation, {})
    assert admitting(schema, default) == {"anyOf": [*schema.get("anyOf", [schema]), also]}


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Optional[int], None), (int, 1), (float, 1), (float, 1.5), (str, "a"), (Any, None), (int, object()), (Colour, "red"),  # noqa: UP045
        (list[str], ()), (list[str], ["a"]), (tuple[int, str], (1, "a")), (dict[str, int], {"a": 1}), (dict, {"a": None}),
        (Iterable[str], ()), (Iterable[str], "a"), (datetime.date, "2026-01-02"), (decimal.Decimal, 1), (decimal.Decimal, 1.5),
    ],
)  # fmt: skip
def test_a_default_that_is_allowed_changes_nothing(annotation: Any, default: Any) -> None:
    assert admitting(schema_of(annotation, {}), default) == schema_of(annotation, {})
