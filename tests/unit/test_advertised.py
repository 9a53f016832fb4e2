"""What strangers say of their tasks: what is valid is kept, everything else costs only the task that it belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.catalog.advertised import read
from tasks_app.catalog.advertised_entry import AdvertisedEntry
from tasks_app.catalog.entry import MessageOptions
from tasks_app.catalog.schemas import DEPTH_AT_MOST, SCHEMAS_AT_MOST, rebuilt
from zenith_site.common import jsonsafe


def parameter(name: str = "amount", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "positional_or_keyword", "required": True, "schema": {"type": "integer"}, **more}


def task(*parameters: Any, **more: Any) -> dict[str, Any]:
    return {"doc": "Pay.", "queue": "tills", "max_retries": 3, "drill": False, "parameters": list(parameters), **more}


def taken(**tasks: Any) -> tuple[dict[str, Any], int]:
    return read(json.dumps(tasks).encode())


def schema_of(schema: Any) -> Any:
    tasks, _ = taken(t=task(parameter(schema=schema)))
    return tasks["t"]["parameters"][0]["schema"] if tasks else None


def test_a_task_is_kept_as_it_was_told() -> None:
    told = task(parameter(), parameter("note", kind="keyword_only", required=False, schema={}, default="none"))
    assert taken(pay=told) == ({"pay": told}, 0)


def test_celerys_own_tasks_are_no_tasks_of_the_application() -> None:
    assert read(json.dumps({"celery.chord": task(), "pay": task()}).encode()) == ({"pay": task()}, 0)


def test_what_is_put_into_messages_is_kept_if_it_is_set() -> None:
    set_ = task(ignore_result=True, time_limit=9.5, soft_time_limit=7)
    unset = task(ignore_result=False, time_limit=None)
    assert taken(a=set_, b=unset) == ({"a": set_, "b": task()}, 0)
    entry = AdvertisedEntry.of("a", [set_], is_online=True)
    assert entry.options == MessageOptions(True, 9.5, 7)
    assert AdvertisedEntry.of("b", [task()], is_online=True).options == MessageOptions()


BAD_TASKS = [
    None, 7, "x", [], {}, task(doc=7), task(max_retries=-1), task(max_retries="3"), task(max_retries=True), task(parameters={}),
    task(7), task({}), task(parameter(""), parameter("b")), task(parameter("a b")), task(parameter("x" * 256)),
    task(parameter(), parameter()), task(parameter(kind="other")), task(parameter(kind=[])), task(parameter(kind=None)),
    task(parameter(kind="keyword_only"), parameter("b")), task(parameter(kind="var_keyword"), parameter("b", kind="var_keyword")),
    task(*(parameter(f"p{number}") for number in range(101))), task(parameter(name=7)),
    task(time_limit="9"), task(time_limit=0), task(soft_time_limit=True), task(time_limit=2**40), task(time_limit=float("nan")),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_TASKS)
def test_an_invalid_task_is_left_out_and_counted(bad: Any) -> None:
    assert taken(bad=bad, pay=task()) == ({"pay": task()}, 1)


BAD_SCHEMAS = [
    None, 7, "string", [], False, {"type": "text"}, {"type": []}, {"type": ["string", "string"]}, {"type": [["string"]]},
    {"properties": []}, {"properties": {"a": 7}}, {"properties": {"": {}}}, {"required": "a"}, {"required": [7]},
    {"items": []}, {"items": 7}, {"prefixItems": {}}, {"anyOf": {}}, {"anyOf": [{"type": "?"}]}, {"enum": []}, {"enum": "ab"},
    {"format": 7}, {"format": ""}, {"description": {}}, {"minItems": -1}, {"maxItems": "1"}, {"additionalProperties": 7},
    {"properties": {f"p{number}": {} for number in range(101)}}, {"anyOf": [{}] * 101},
]  # fmt: skip


@pytest.mark.parametrize("schema", BAD_SCHEMAS)
def test_an_invalid_schema_costs_its_task(schema: Any) -> None:
    assert schema_of(schema) is None


def test_keywords_that_are_not_known_are_dropped() -> None:
    whole = {
        "type": ["object", "null"], "properties": {"a": {"type": "string", "format": "date", "description": "When."}},
        "required": ["a"], "additionalProperties": False, "default": None,
    }  # fmt: skip
    hostile = {"$ref": "http://evil.example/x", "$defs": {"x": {}}, "pattern": "(a+)+$", "patternx": 1, "title": "A", "not": {}}
    nested = {**whole, **hostile, "properties": {"a": {**whole["properties"]["a"], **hostile}}}  # type: ignore[dict-item]
    assert schema_of(nested) == whole
    assert schema_of({"$dynamicRef": "#", "$id": "file:///etc/passwd"}) == {}
    assert schema_of({"type": "object", "patternProperties": {"^a": {}}, "additionalProperties": False}) == {"type": "object"}
    for whole in (
        {"type": "array", "prefixItems": [{"type": "integer"}, {}], "items": False, "minItems": 2, "maxItems": 2},
        {"type": "object", "additionalProperties": {"type": "integer"}}, {"enum": [1, None, "x"], "const": 1},
    ):  # fmt: skip
        assert schema_of(whole) == whole
    assert schema_of({"type": "array", "prefixItems": [], "anyOf": []}) == {"type": "array"}
    for value in ("\x00", 2**60, "\ud800", "x" * 20_000, float("nan")):
        assert schema_of({"const": value, "default": value, "enum": [value]}) == {}, "what cannot be stored is not asked for"
    assert schema_of({"description": "a\x00" * 2000}) == {"description": "a\ufffd" * 500}


def test_depth_and_number_are_bounded_beyond_which_anything_is_accepted() -> None:
    def nested(levels: int, innermost: Any) -> dict[str, Any]:
        return {"items": nested(levels - 1, innermost)} if levels else innermost

    assert schema_of(nested(DEPTH_AT_MOST - 1, {"type": "string"})) == nested(DEPTH_AT_MOST - 1, {"type": "string"})
    assert schema_of(nested(DEPTH_AT_MOST, {"type": "string"})) == nested(DEPTH_AT_MOST, {})
    wide = schema_of({"anyOf": [{"anyOf": [{"type": "string"}] * 60}] * 5})
    assert json.dumps(wide).count("string") <= SCHEMAS_AT_MOST


def test_what_is_no_json_at_all_is_one_task_that_was_left_out() -> None:
    for written in (b"", b"nonsense", b"[]", b"\xff", b"7", b"[" * 100_000, b'{"a":' * 50_000):
        assert read(written) == ({}, 1)


def test_one_huge_number_or_name_hides_no_other_task() -> None:
    good = json.dumps(task())
    written = f'{{"pay": {good}, "big": {{"parameters": [], "max_retries": {"9" * 9000}}}, "\\ud800": {good}, "": {good}}}'
    assert read(written.encode()) == ({"pay": task()}, 3)
    assert taken(pay=task(max_retries=10**9))[0]["pay"]["max_retries"] == 2**15 - 1
    assert read(b'{"pay": {"parameters": [], "max_retries": NaN}}') == ({}, 1)


def test_a_queue_that_cannot_be_is_not_told_and_texts_are_cut() -> None:
    tasks, left_out = taken(pay=task(queue="a\nb", doc="é\x00" * 5000))
    assert (tasks["pay"]["queue"], len(tasks["pay"]["doc"]), left_out) == (None, 4000, 0)
    assert "\x00" not in tasks["pay"]["doc"]


def test_a_default_that_cannot_be_stored_or_is_a_secret_is_not_kept() -> None:
    for name, default in (("a", "\x00"), ("a", 2**60), ("a", "x" * 20_000), ("password", "hunter2"), ("a", "password=hunter2")):
        tasks, _ = taken(pay=task(parameter(name, required=False, default=default)))
        assert "default" not in tasks["pay"]["parameters"][0]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["string", "object", "anyOf"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text() | st.sampled_from(["type", "properties", "items", "anyOf", "enum", "required", "prefixItems", "default"]),
        inner, max_size=4,
    ),
)  # fmt: skip


@given(schema=anything, values=st.lists(anything, max_size=3))
def test_whatever_is_said_what_is_kept_can_be_stored_and_used(schema: Any, values: list[Any]) -> None:
    tasks, left_out = read(json.dumps({"t": task(parameter(schema=schema)), "u": schema}).encode())
    assert len(tasks) + left_out == 2
    assert not list(jsonsafe.problems(tasks))
    for name, described in tasks.items():
        entry = AdvertisedEntry.of(name, [described], is_online=True)
        for value in values:
            for problem in entry.problems([value], {}):
                assert len(problem.detail) < 10_000
    try:
        once = rebuilt(schema)
    except ValueError:
        return
    assert rebuilt(once) == once
