"""Tasks that workers told of: what is wrong with arguments for them, and what forms are made from."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.catalog.advertised_entry import AdvertisedEntry
from tasks_app.catalog.effort import Effort
from tests.unit.test_advertised import parameter, task

TEXT = {"type": "string"}
#: def pay(account, /, amount: int, note: str = "none", *, tags: list[str] = [], mode: Literal["fast", "exact"] = "fast")
PAY = task(
    parameter("account", kind="positional_only", schema={}),
    parameter("amount"),
    parameter("note", required=False, schema=TEXT, default="none"),
    parameter("tags", kind="keyword_only", required=False, schema={"type": "array", "items": TEXT}),
    parameter("mode", kind="keyword_only", required=False, schema={"enum": ["fast", "exact"]}),
)
ANY = task(
    parameter("args", kind="var_positional", required=False), parameter("kwargs", kind="var_keyword", required=False, schema=TEXT)
)


def entry(*described: Any, is_online: bool = True) -> AdvertisedEntry:
    return AdvertisedEntry.of("pay", described, is_online=is_online)


def found(*args: Any, of: Any = PAY, **kwargs: Any) -> dict[str, str]:
    return {item.pointer: item.detail for item in entry(of).problems(args, kwargs)}


def test_arguments_that_fit_have_no_problems() -> None:
    assert found("a", 1) == found("a", amount=1, note="x") == found(None, 1, "x", tags=["a"], mode="fast") == {}
    assert found(1, 2, 3, a="x", of=ANY) == found(of=ANY) == {}


@pytest.mark.parametrize(
    ("args", "kwargs", "pointer", "detail"),
    [
        ([], {"amount": 1}, "/kwargs/account", "pay needs this argument"),
        (["a"], {}, "/kwargs/amount", "pay needs this argument"),
        (["a", 1, "x", 2], {}, "/args/3", "pay takes 3 arguments"),
        (["a", 1], {"amount": 2}, "/kwargs/amount", "given twice"),
        (["a", 1], {"account": "b"}, "/kwargs/account", "can be given by position only"),
        (["a", 1], {"a/b": 2}, "/kwargs/a~1b", "no such argument; pay takes: account, amount, note, tags, mode"),
        (["a", "1"], {}, "/args/1", "must be of the type integer"),
        (["a", True], {}, "/args/1", "must be of the type integer"),
        (["a", 1], {"note": None}, "/kwargs/note", "must be of the type string"),
        (["a", 1], {"tags": ["a", 1]}, "/kwargs/tags/1", "must be of the type string"),
        (["a", 1], {"mode": "slow"}, "/kwargs/mode", "must be one of: 'fast', 'exact'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(args: list[Any], kwargs: dict[str, Any], pointer: str, detail: str) -> None:
    assert found(*args, **kwargs) == {pointer: detail}


def test_variable_arguments_are_checked_one_by_one() -> None:
    assert found(1, "x", a=1, of=ANY).keys() == {"/args/1", "/kwargs/a"}


def test_values_inside_are_told_by_their_place_and_never_shown() -> None:
    shape = {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"], "additionalProperties": False}
    listing = {"type": "array", "prefixItems": [{"type": "integer"}], "items": False}
    either = {"anyOf": [TEXT, {"type": "null"}]}
    described = task(parameter("shape", schema=shape), parameter("listing", schema=listing), parameter("either", schema=either))
    assert found({"a": "x", "b": 1}, [1], None, of=described).keys() == {"/args/0"}, "b is required and not declared"
    problems = entry(described).problems([{"a": 7, "c": "hunter2"}, [1, "hunter2"], {"hunter2": 1}], {})
    assert {(problem.pointer, problem.detail) for problem in problems} == {
        ("/args/0/a", "must be of the type string"), ("/args/0", "has unknown members: c"), ("/args/0", "needs the members: b"),
        ("/args/1", "has too many items"), ("/args/2", "is of none of the accepted types"),
    }  # fmt: skip


def test_numbers_of_items_and_other_members_are_checked() -> None:
    pair = {"type": "array", "prefixItems": [TEXT, TEXT], "minItems": 2, "maxItems": 2}
    described = task(parameter("pair", schema=pair), parameter("map", schema={"additionalProperties": {"type": "integer"}}))
    assert found(["a", "b"], {"x": 1}, of=described) == {}
    assert found(["a"], {"x": "1"}, of=described) == {"/args/0": "needs 2 items", "/args/1/x": "must be of the type integer"}
    assert found(["a"] * 3, {}, of=described) == {"/args/0": "has too many items"}


def test_a_form_has_what_it_needs() -> None:
    pay = entry(PAY)
    assert (pay.description, pay.queue, pay.max_retries, pay.drill, pay.versions) == ("Pay.", "tills", 3, False, 1)
    assert pay.first_argument == "account"
    assert pay.positional_names == ["account", "amount", "note"]
    assert pay.named_positions == {"amount": 1, "note": 2}
    schema = pay.arguments_schema
    assert (schema["required"], schema["additionalProperties"]) == (["account", "amount"], False)
    assert schema["properties"]["note"] == {"type": "string", "default": "none"}
    assert entry(ANY).arguments_schema["additionalProperties"]
    assert entry(ANY).first_argument is None


def test_arguments_must_fit_every_version_that_runs() -> None:
    both = entry(task(parameter(), parameter("currency")), task(parameter()))
    assert both.versions == 2
    (problem,) = both.problems([1], {"currency": 7})
    assert problem.pointer == "/kwargs/currency"
    assert problem.detail == "no such argument; pay takes: amount (in 1 of the 2 versions of this task that are running)"
    assert {item.detail for item in both.problems([], {"currency": 1})} >= {"pay needs this argument"}
    assert list(both.arguments_schema["properties"]) == ["amount", "currency"], "the newest makes the form"
    assert entry(PAY, is_online=False).versions == 0


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"enum": list(range(1100))}},
        {"items": {"anyOf": [{"enum": list(range(100))}] * 90}},
        {"items": {"const": list(range(1100))}},
        {"anyOf": [{"items": {"type": "integer"}}] * 50},
    ],
)
def test_values_that_would_take_too_long_to_check_are_accepted(schema: Any) -> None:
    assert found([-1, "x"], of=task(parameter(schema=schema)))
    assert found([-1, "x"] * 1000, of=task(parameter(schema=schema))) == {}


def test_a_long_text_costs_what_its_representation_does() -> None:
    either = task(parameter(schema={"anyOf": [{"type": "integer"}] * 50}))
    assert found("x" * 1000, of=either)
    assert found("x" * 5_000_000, of=either) == found({"x" * 5_000_000: 1}, of=either) == {}
    assert found("x" * 5_000_000, of=task(parameter())) == {"/args/0": "must be of the type integer"}


def test_a_request_has_one_effort_for_all_its_tasks() -> None:
    effort, checked = Effort(20_000), entry(task(parameter(schema={"enum": list(range(1000))})))
    refused = [bool(checked.problems([-1], {}, effort)) for _ in range(50)]
    assert refused == [True] * 19 + [False] * 31, "the first ones are checked"
