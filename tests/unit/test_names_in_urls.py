"""A link to any name can be made, survives servers and proxies, and leads back to the name."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import pytest
from django.urls import resolve, reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.names import NAMES
from zenith_site.common.names_in_urls import as_segment, from_segment

ROUTES = ("tasks:queue", "tasks:pause_queue", "tasks:worker", "tasks:clear_worker", "infra:host", "infra:forget_host")
#: What servers and proxies merge, decode or drop.
CHANGED_ON_ITS_WAY = re.compile(r"//|/\.\.?/|%2F|%5C|%0A|%25|\s", re.IGNORECASE)


@pytest.mark.parametrize("name", ["", *NAMES], ids=ascii)
def test_a_link_to_a_name_arrives_as_it_was_made(name: str) -> None:
    for route in ROUTES:
        url = reverse(route, args=[name])
        found = resolve(unquote(url))
        assert (found.view_name, found.kwargs) == (route, {"name": name})
        assert not CHANGED_ON_ITS_WAY.search(url)


@given(st.text())
def test_every_text_has_a_segment_of_its_own(name: str) -> None:
    segment = as_segment(name)
    assert segment not in {"", ".", ".."}
    assert "/" not in segment
    assert from_segment(segment) == name


def test_a_link_can_be_made_even_to_what_nothing_can_be_called() -> None:
    for name in ("a\0b", "\ud800"):
        assert reverse("tasks:worker", args=[name])


@pytest.mark.parametrize("name", ["celery@host-1.example", "priority:high", "очередь", "..."])
def test_a_name_without_odd_characters_stands_in_a_link_as_it_is(name: str) -> None:
    assert reverse("tasks:worker", args=[name]) == f"/workers/{quote(name, safe='@:')}/"


@pytest.mark.parametrize("segment", ["a~", "a~b", "~zz", "~2f", "~FF", "~ED~A0~80"])
def test_what_only_looks_escaped_is_a_name_as_it_is(segment: str) -> None:
    assert from_segment(segment) == segment
