"""`/docs` and `/openapi.json`: closed like the rest, complete, and free of any CDN."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.integration.conftest import ApiClient


@pytest.fixture
def schema(api: ApiClient) -> Any:
    return api("read").get("/openapi.json").json()


def test_a_browser_is_sent_to_the_login(db: None) -> None:
    response = Client().get("/docs", headers={"Accept": "text/html,*/*"})
    assert (response.status_code, response.headers["Location"]) == (302, "/login/?next=/docs")


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_a_program_without_a_token_gets_401(db: None, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/problem+json"


def test_the_page_needs_no_cdn_and_no_inline_script(admin: Any) -> None:
    client = Client()
    client.force_login(admin)
    response = client.get("/docs")
    page = response.content.decode()
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]
    scripts = re.findall(r"<script([^>]*)>([^<]*)", page)
    assert all("src=" in attributes or "application/json" in attributes for attributes, _ in scripts)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    assert " style=" not in page
    assert "<style" not in page
    for path in re.findall(r"""(?:src|href)=["']/static/([^"']+)""", page):
        assert finders.find(path), path


def test_every_operation_names_the_problems_it_may_answer(schema: Any) -> None:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert "503" in operation["responses"]
            if path not in {"/health", "/ready"}:
                assert {"401", "403"} <= operation["responses"].keys()
                problem = operation["responses"]["401"]["content"]["application/problem+json"]
                assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_it_describes_the_contracts_paths(schema: Any) -> None:
    assert {"/health", "/tasks/trigger", "/tasks/all", "/task-status/{task_id}"} <= schema["paths"].keys()
    names = {item["name"] for item in schema["paths"]["/tasks/all"]["get"]["parameters"]}
    assert names >= {"limit", "cursor", "status", "task", "q"}
    assert schema["components"]["securitySchemes"].keys() >= {"ApiKey", "Bearer"}


def test_every_reference_leads_somewhere(schema: Any) -> None:
    for reference in set(re.findall(r"#/components/schemas/(\w+)", str(schema))):
        assert reference in schema["components"]["schemas"]


def test_every_operation_says_what_it_does_and_every_body_has_an_example(schema: Any) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                names = [part["$ref"].rsplit("/", 1)[-1] for part in [body, *body.get("anyOf", [])] if "$ref" in part]
                models = [schema["components"]["schemas"][name] for name in names]
                assert any({"example", "examples"} & model.keys() for model in models), (method, path)
