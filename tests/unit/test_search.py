"""The search language: what each term means, and what is refused with its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.search.parser import Argument, FilterValue, Search, parse, without
from zenith_worker.wire.states import Status

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")

MEANT: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("   ", {}),
    ("status:FAILURE", {"statuses": {Status.FAILURE}}),
    ("Status:failure", {"statuses": {Status.FAILURE}}),
    ("status:FAILURE status:RETRY", {"statuses": {Status.FAILURE, Status.RETRY}}),
    ("-status:SUCCESS", {"statuses": set(Status) - {Status.SUCCESS}}),
    ("status:FAILURE -status:FAILURE", {"statuses": set()}),
    ("name:report*", {"names": (FilterValue("report*"),)}),
    ("name:a -name:b", {"names": (FilterValue("a"), FilterValue("b", unwanted=True))}),
    ("queue:high worker:w1", {"queues": (FilterValue("high"),), "workers": (FilterValue("w1"),)}),
    ("application:shop -application:zenith", {"applications": (FilterValue("shop"), FilterValue("zenith", unwanted=True))}),
    ("args.user:7", {"arguments": (Argument("user", "7"),)}),
    ("args.user.id:7 -args.0:x", {"arguments": (Argument("user.id", "7"), Argument("0", "x", unwanted=True))}),
    ("args.User:A", {"arguments": (Argument("User", "A"),)}),
    ("error:Timeout", {"errors": (FilterValue("Timeout"),)}),
    ('error:"no answer"', {"errors": (FilterValue("no answer"),)}),
    ("disk full", {"words": (FilterValue("disk"), FilterValue("full"))}),
    ('"disk full"', {"words": (FilterValue("disk full"),)}),
    ('"status:FAILURE"', {"words": (FilterValue("status:FAILURE"),)}),
    (r'"say \"no\" \\"', {"words": (FilterValue(r'say "no" \ '.strip()),)}),
    ("-disk", {"words": (FilterValue("disk", unwanted=True),)}),
    ("-", {"words": (FilterValue("-"),)}),
    ("12:30", {"words": (FilterValue("12:30"),)}),
    (f"id:{ID} batch:{ID} parent:{ID}", {"ids": (str(ID),), "batches": (ID,), "parents": (str(ID),)}),
    (f"id:{ID} id:{ID}", {"ids": (str(ID),)}),
    (f"id:{ID.hex}", {"ids": (ID.hex,)}),
    ("id:7 parent:nightly", {"ids": ("7",), "parents": ("nightly",)}),
    ("since:1h", {"since": NOW - timedelta(hours=1)}),
    ("since:1h since:15m", {"since": NOW - timedelta(minutes=15)}),
    ("until:2w", {"until": NOW - timedelta(weeks=2)}),
    ("ended_since:1h ended_since:15m", {"ended_since": NOW - timedelta(minutes=15)}),
    ("ended_until:1h", {"ended_until": NOW - timedelta(hours=1)}),
    ("since:2030-01-30", {"since": datetime(2030, 1, 30, tzinfo=UTC)}),
    ("since:2030-01-30T08:30Z", {"since": datetime(2030, 1, 30, 8, 30, tzinfo=UTC)}),
    ('until:"2030-01-30 08:30+02:00"', {"until": datetime(2030, 1, 30, 6, 30, tzinfo=UTC)}),
]


@pytest.mark.parametrize(("text", "meant"), MEANT)
def test_a_search_means(text: str, meant: dict[str, Any]) -> None:
    if isinstance(meant.get("statuses"), set):
        meant = {**meant, "statuses": frozenset(meant["statuses"])}
    assert parse(text, NOW) == Search(**meant)


REFUSED = [
    ("colour:red", "no key 'colour'"),
    ("args:7", "no key 'args'"),
    ("status.x:7", "no key 'status.x'"),
    ("http://example.org", '"double quotes"'),
    ("status:DONE", "no status 'DONE'"),
    ("status:", "'status' needs a value"),
    ('name:""', "'name' needs a value"),
    ('""', "needs a value"),
    ("batch:x", "batch:'x' is not an id"),
    (f"-parent:{ID}", "'parent' cannot be negated"),
    ("since:yesterday", "since:'yesterday' is not a time"),
    ("since:1y", "is not a time"),
    ("until:2030-02-31", "is not a time"),
    ("since:999999w", "is not a time"),
    ("-ended_since:1h", "cannot be negated"),
    ("-since:1h", "cannot be negated"),
    ('"left open', "is not closed"),
    ('in"the middle"', "double quote"),
    ("a " * 21, "21 terms"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_cannot_be_understood_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$") as refused:
        parse(text, NOW)
    assert reason in str(refused.value)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused_with_a_reason(text: str) -> None:
    refused = ""
    try:
        found = parse(text, NOW)
    except ValueError as error:
        refused = str(error)
    assert refused or found == parse(text, NOW)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ""),
        ("status:FAILURE", ""),
        ('name:"a b" -status:SUCCESS "no answer"  STATUS:failure args.status:1', 'name:"a b" "no answer" args.status:1'),
    ],
)
def test_terms_of_one_key_are_taken_out(text: str, rest: str) -> None:
    assert without(text, "status") == rest
