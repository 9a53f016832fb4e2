"""What JSON may hold: what is refused has a pointer, what is stored can be read back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidJSONError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-jsonsafe.SAFE_INTEGER, jsonsafe.SAFE_INTEGER)
    | st.floats(-1e9, 1e9)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def named(value: Any) -> list[str]:
    return [problem.pointer for problem in jsonsafe.problems(value)]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None, True, "text", "", "é😀", 0, -1, 1.5, 1e300, 2**53 - 1, -(2**53) + 1, [], {}, {"a": [{"b": None}]},
        nested(32), "\x01\x1f\x7f\ufffd",
    ],
)  # fmt: skip
def test_what_every_program_reads_alike_is_fine(value: Any) -> None:
    assert named(value) == []


@pytest.mark.parametrize(
    ("value", "pointers"),
    [
        ("\x00", [""]),
        ({"a": ["ok", "x\x00"]}, ["/a/1"]),
        ({"a\x00": 1}, ["/a\x00"]),
        ("\ud800", [""]),
        ({"a/b": {"c~d": "\udfff"}}, ["/a~1b/c~0d"]),
        (2**53, [""]),
        (-(2**53), [""]),
        ([10**400], ["/0"]),
        (2.0**53, [""]),
        ([float("nan"), float("inf"), float("-inf")], ["/0", "/1", "/2"]),
        (nested(33), ["/0" * 32]),
        (nested(900), ["/0" * 32]),
        ([b"bytes", {1, 2}], ["/0", "/1"]),
    ],
)
def test_what_is_refused_has_a_pointer_to_it(value: Any, pointers: list[str]) -> None:
    assert named(value) == pointers


def refused(raw: bytes) -> dict[str, str]:
    with pytest.raises(InvalidJSONError) as caught:
        jsonsafe.parse(raw)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("raw", "pointer", "detail"),
    [
        (b"", "", "not JSON: Expecting value (line 1, column 1)"),
        (b"{\n  'a': 1}", "", "not JSON: Expecting property name"),
        (b'{"a": 1} x', "", "not JSON: Extra data"),
        (b'"\xff"', "", "not UTF-8: byte 1 starts no character"),
        ('{"a": 1}'.encode("utf-16"), "", "not UTF-8: byte 0"),
        (b"\xef\xbb\xbf{}", "", "not JSON"),
        (b"[" * 100_000, "", "nested more than 32 levels deep"),
        (b'{"a":' * 100_000, "", "nested more than 32 levels deep"),
        (b'{"a": [NaN, -Infinity]}', "/a/0", "NaN is not JSON"),
        (b'{"a": [NaN, -Infinity]}', "/a/1", "-Infinity is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "/0", "±9007199254740991"),
        (b'{"a": {"b": 1, "b": 1}}', "/a/b", "appears 2 times"),
        (b'{"a": {"b": NaN}, "a": 1}', "/a", "appears 2 times"),
    ],
)
def test_text_that_programs_would_read_in_different_ways_is_refused(raw: bytes, pointer: str, detail: str) -> None:
    found = refused(raw)
    assert detail in found[pointer]


def test_no_more_than_twenty_culprits_are_named() -> None:
    assert len(refused(b"[" + b"NaN," * 1000 + b"NaN]")) == jsonsafe.MAX_NAMED


def test_a_great_many_names_are_read_in_linear_time() -> None:
    names = ", ".join(f'"{number}": 0' for number in range(100_000))
    assert list(refused(f'{{{names}, "7": 1}}'.encode())) == ["/7"]


@given(JSON_VALUES)
def test_parsing_gives_back_what_was_written(value: Any) -> None:
    assert jsonsafe.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=50))
def test_parsing_raises_nothing_else(raw: bytes) -> None:
    with suppress(InvalidJSONError):
        jsonsafe.parse(raw)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(ANYTHING)
def test_whatever_was_sent_can_be_stored(value: Any) -> None:
    text = jsonsafe.storable(value)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()
    json.loads(text, parse_constant=pytest.fail)


@given(st.text(st.characters()))
def test_text_can_be_stored(text: str) -> None:
    stored = jsonsafe.storable_text(text)
    assert "\x00" not in stored
    stored.encode()
    if text.isprintable():
        assert stored == text
