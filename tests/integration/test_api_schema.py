"""schemathesis: every operation of a real web process, called as the API's description allows and as it forbids.

It finds whatever contradicts `/openapi.json`: a 500, a status or a body that is not described, bad input that is accepted, good
input that is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import HealthCheck, Phase, settings
from ninja.responses import NinjaJSONEncoder

from tests import stack as stacks
from tests.processes import free_port
from zenith_site.urls import api

if TYPE_CHECKING:
    # Imported where it is used: every process of a run collects this file, and one runs it.
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

pytestmark = pytest.mark.django_db(transaction=True)

#: Drawn for each operation, beside those that cover its description rule by rule; half of them break a rule.
EXAMPLES = int(os.environ.get("ZENITH_SCHEMA_EXAMPLES") or 7)
METHODS = {"get", "post", "put", "patch", "delete"}
CONFIG = """
[phases.coverage]
# What answers 405 to the other methods is tried for every route in test_auth_doors.py.
unexpected-methods = ["OPTIONS", "TRACE", "QUERY"]

[checks.positive_data_acceptance]
# What fits the description may still be wrong: a task that is not in the catalogue, arguments that it does not take,
# an id that names nothing, a state in which something cannot be done, no worker or Docker host to do it.
expected-statuses = [200, 201, 202, 204, 404, 409, 422, 503]

[[operations]]
# Without a Docker host these answer 503, as they should.
include-path = ["/deploy", "/api/inventory", "/api/network"]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""


DESCRIPTION = json.loads(json.dumps(api.get_openapi_schema(), cls=NinjaJSONEncoder))
OPERATIONS = sorted(f"{name.upper()} {path}" for path, item in DESCRIPTION["paths"].items() for name in item if name in METHODS)


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    """The description with the rules above."""
    import schemathesis
    from schemathesis.checks import load_all_checks
    from schemathesis.config import SchemathesisConfig

    load_all_checks()
    return schemathesis.openapi.from_dict(DESCRIPTION, config=SchemathesisConfig.from_str(CONFIG))


@dataclass
class Caller:
    """Where to call, and the token of an admin to call with.

    Attributes:
        refuses_others: whether the operation was seen to refuse who has no token.
    """

    base_url: str
    headers: dict[str, str]
    session: requests.Session
    refuses_others: bool = False


@pytest.fixture(scope="module")
def module_port(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    names = ("ZENITH_RATE_LIMIT", "ZENITH_READ_RATE_LIMIT", "ZENITH_REFUSAL_RATE_LIMIT")
    limits = dict.fromkeys(names, "1000000/1s")
    for stack in stacks.running(tmp_path_factory.mktemp("schema"), **limits):
        port = free_port()
        stack.web(port)
        yield port


@pytest.fixture
def caller(module_port: int, transactional_db: None) -> Iterator[Caller]:
    """Someone who may do everything. What they leave in the database is removed after each operation."""
    from django.contrib.auth.models import User

    from zenith_site.auth.tokens import create_token
    from zenith_site.models import Scope

    _, raw = create_token(User.objects.create_superuser("schemathesis"), "schemathesis", Scope.values)
    with requests.Session() as session:
        yield Caller(f"http://127.0.0.1:{module_port}", {"X-API-Key": raw}, session)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def kept(case: Case, caller: Caller) -> None:
    from schemathesis.specs.openapi.checks import ignored_auth

    # That an operation wants a token is a property of it: one good answer that becomes bad without a token shows it. For each
    # case, which is what schemathesis does where it does not run the tests itself, that would be every second call.
    excluded = [ignored_auth] if caller.refuses_others else []
    answer = case.call_and_validate(
        base_url=caller.base_url, headers=caller.headers, session=caller.session, excluded_checks=excluded
    )  # fmt: skip
    caller.refuses_others |= answer.status_code < 300


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_keeps_its_description(operation: str, schema: BaseSchema, caller: Caller) -> None:
    from schemathesis.generation.feedback import FeedbackSources
    from schemathesis.pytest._test_builder import build_operation_test

    method, _, path = operation.partition(" ")
    # `@schema.parametrize()` would make the cases of all operations wherever tests are collected, for half a minute.
    run = build_operation_test(
        config=schema.config, operation=schema[path][method], test_func=kept, given_kwargs={}, feedback=FeedbackSources()
    )
    run(caller=caller)


def test_the_description_is_valid_openapi_3_1(schema: BaseSchema) -> None:
    assert DESCRIPTION["openapi"].startswith("3.1.")
    schema.validate()
