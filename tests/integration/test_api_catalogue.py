"""`/api/v1/catalogue`: what can be dispatched, with the JSON Schema of its arguments."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest
from django.test import Client

from tasks_app.catalog.native import NativeEntry, _signature
from tests.integration.conftest import ApiClient

PATH = "/api/v1/catalogue"


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


def schema_of(body: Any) -> dict[str, Any]:
    return NativeEntry("t", "", _signature(body), False, None).arguments_schema


def test_the_built_in_tasks_are_listed_with_their_arguments(reader: Client) -> None:
    answer = {item["name"]: item for item in reader.get(PATH).json()}
    assert {"analyze_text", "drill_sleep", "drill_fail", "drill_crash"} <= set(answer)
    analyze = answer["analyze_text"]
    assert (analyze["queue"], analyze["drill"], analyze["first_argument"]) == ("default", False, "data")
    assert analyze["description"]
    assert analyze["arguments"] == {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "properties": {"data": {"type": "string"}}, "required": ["data"], "additionalProperties": False,
    }  # fmt: skip
    assert answer["drill_crash"]["drill"] is True
    assert reader.get(f"{PATH}/analyze_text").json() == analyze


def test_an_unknown_task_is_404(reader: Client) -> None:
    response = reader.get(f"{PATH}/nothing")
    assert (response.status_code, response.json()["detail"]) == (404, "No task is called 'nothing'.")


def test_defaults_and_choices_are_told() -> None:
    def body(size: int, mode: Literal["fast", "exact"] = "fast", *, note: str | None = None) -> None: ...

    schema = schema_of(body)
    assert schema["required"] == ["size"]
    assert schema["properties"] == {
        "size": {"type": "integer"},
        "mode": {"enum": ["fast", "exact"], "type": "string", "default": "fast"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    }


def test_what_python_alone_understands_is_left_open() -> None:
    def body(anything, callback: Any = print, *rest: int, odd: type[Stack] = dict, **more: Any) -> None: ...  # type: ignore[no-untyped-def]

    class Stack: ...

    schema = schema_of(body)
    assert schema["properties"] == {"anything": {}, "callback": {}, "odd": {}}
    assert (schema["required"], schema["additionalProperties"]) == (["anything"], True)


def test_nested_models_are_defined_once() -> None:
    @dataclasses.dataclass
    class Address:
        street: str

    def body(home: Address, work: Address) -> None: ...

    body.__annotations__ = {"home": Address, "work": Address}
    schema = schema_of(body)
    assert schema["properties"]["home"] == schema["properties"]["work"] == {"$ref": "#/$defs/Address"}
    assert schema["$defs"]["Address"]["required"] == ["street"]
