"""Previews: short, valid, and never a secret that the whole would have hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_site.common.masking import mask, mask_text
from zenith_site.common.previews import ELLIPSIS, read_head, shorten, shorten_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=8), items, max_size=4),
    max_leaves=12,
)
SECRET = "hunter2" * 400
HOLDING = [
    "see amqp://ann:{}@host/x", "see postgres%3A%2F%2Fann%3A{}%40host", "<password>{}</password>",
    '<a x="1"><db.secret a="b">{}</db.secret>',
    "<token><![CDATA[{}]]></token>", "password={}", 'password="{}"', "Authorization: Bearer {}", "Bearer {}", "PASSWORD '{}'",
    '{{"password": "{}"}}', "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", "mysql --password {} db",
]  # fmt: skip


@pytest.mark.parametrize("told", HOLDING)
@pytest.mark.parametrize("before", [0, 3, 90, 180, 600])
def test_no_cut_reveals_a_secret(told: str, before: int) -> None:
    text = "x " * before + told.format(SECRET) + " and on" * 300
    assert "hunter" not in mask_text(text)
    for limit in (1, 20, 100, 200, 400, 1000, 1500, 2800, 3200, 4500):
        for more in (False, True):
            shown = shorten_text(text, limit, more=more)
            assert "hunter" not in shown
            assert len(shown) <= limit + 20
    # Wherever PostgreSQL cut it.
    for kept in (30, 200, 700, 1300, 2000, 2900, 3400):
        value, cut = read_head(json.dumps({"log": [text]}), kept)
        assert cut
        assert "hunter" not in json.dumps(mask(value))


def test_a_short_text_stays_as_it_is() -> None:
    assert shorten_text("all is well", 20) == "all is well"
    assert shorten_text("password=x", 20) == "password=***"
    assert shorten_text("a" * 30, 20) == "a" * 20 + ELLIPSIS
    assert shorten_text("a" * 30_000, 20_000) == "a" * 20_000 + ELLIPSIS


def test_what_is_cut_away_hides_nothing_that_is_shown() -> None:
    assert shorten_text("see http://host/path and " + "b" * 900, 30) == "see http://host/path and bbbbb" + ELLIPSIS


@given(VALUES, st.integers(0, 60))
def test_what_is_left_is_the_beginning(value: Any, limit: int) -> None:
    left, cut = shorten(value, limit)
    assert (left == value) or cut
    assert len(json.dumps(left, ensure_ascii=False)) <= 3 * limit + 120
    assert begins(left, value)


@given(VALUES, st.integers(0, 200))
def test_a_head_is_the_beginning(value: Any, kept: int) -> None:
    text = json.dumps(value)
    left, cut = read_head(text, kept)
    assert cut is (len(text) > kept)
    assert left == value if not cut else left is None or begins(left, value)


def begins(left: Any, value: Any) -> bool:
    """Whether a value is another one's beginning."""
    if isinstance(left, str) and isinstance(value, str):
        return left in (value, mask_text(value)) or (left.endswith(ELLIPSIS) and value.startswith(left[:-1]))
    if isinstance(left, list) and isinstance(value, list):
        return len(left) <= len(value) and all(map(begins, left, value))
    if isinstance(left, dict) and isinstance(value, dict):
        return all(name in value and begins(item, value[name]) for name, item in left.items())
    return bool(left == value)


@pytest.mark.parametrize(
    "text", ["]" * 50, '{"a": 1]' + " " * 50, "password hunter2 " * 9, "[1, password=x, " + "2, " * 30, '{"a"' + "}" * 50]
)
def test_the_beginning_of_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- json.loads says why, or this does
        read_head(text, 30)


def test_a_large_value_is_cut_where_its_items_end() -> None:
    rows = [{"id": number, "name": "n" * 50} for number in range(100_000)]
    left, cut = shorten({"rows": rows, "last": 1}, 1000)
    assert cut
    assert list(left) == ["rows"]
    assert left["rows"][:-1] == rows[: len(left["rows"]) - 1]
    assert 5 < len(left["rows"]) < 20
    head, cut = read_head(json.dumps(rows)[:2001], 2000)
    assert cut
    assert head[:20] == rows[:20]
