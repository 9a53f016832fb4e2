"""`/api/v1/tokens`: one's own, never more than one has, and shown once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from tasks_app.models import IdempotencyKey
from tests.integration.conftest import ApiClient
from tests.tokens import authenticate_token
from zenith_site.auth import token_api
from zenith_site.auth.tokens import create_token
from zenith_site.models import ApiToken, AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/api/v1/tokens"


@pytest.fixture
def person(db: None) -> Callable[[str], Client]:
    """Makes somebody of a role, with a session."""

    def make(role: str) -> Client:
        user = User.objects.create_user(role, password="a long enough one")
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return make


def post(client: Client, **body: Any) -> Any:
    return client.post(PATH, data={"name": "billing", "scopes": ["read"], **body}, content_type="application/json")


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.content
    return [error["pointer"] for error in response.json()["errors"]]


def test_a_token_is_made_and_shown_once(person: Any) -> None:
    client = person("operator")
    end = timezone.now() + timedelta(days=7)
    response = post(client, scopes=["operate", "read"], expires_at=end.isoformat())
    assert response.status_code == 201
    made = response.json()
    found = authenticate_token(made["token"])
    assert found is not None
    assert (found.pk, found.user.username, found.scopes, found.expires_at) == (made["id"], "operator", ["read", "operate"], end)
    listed = client.get(PATH)
    assert made["token"] not in listed.content.decode()
    assert found.hash not in listed.content.decode() + response.content.decode()
    assert [(item["id"], item["prefix"], item["scopes"]) for item in listed.json()] == [(found.pk, found.prefix, found.scopes)]


def test_a_request_that_comes_again_makes_no_second_token_and_shows_none(person: Any) -> None:
    client = person("viewer")
    first, second = (
        client.post(PATH, {"name": "billing", "scopes": ["read"]}, "application/json", headers={"Idempotency-Key": "a"})
        for _ in range(2)
    )
    assert (first.status_code, second.status_code, second.headers["Idempotent-Replayed"]) == (201, 201, "true")
    assert second.json() == {**first.json(), "token": None}
    assert ApiToken.objects.count() == 1
    assert first.json()["token"] not in str(IdempotencyKey.objects.values())


def test_the_audit_log_tells_of_it_without_the_token(person: Any) -> None:
    made = post(person("viewer")).json()
    entry = AuditEntry.objects.filter(action="POST /api/v1/tokens").get()
    assert entry.detail == {"created": f"billing ({made['prefix']}…)", "scopes": ["read"]}
    assert made["token"] not in str(AuditEntry.objects.values())


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        ("viewer", ["read"], 201),
        ("viewer", ["dispatch"], 403),
        ("operator", ["read", "dispatch", "operate"], 201),
        ("operator", ["read", "infra"], 403),
        ("operator", ["admin"], 403),
        ("admin", ["read", "dispatch", "operate", "infra", "admin"], 201),
    ],
)
def test_nobody_gives_away_a_scope_that_they_lack(person: Any, role: str, scopes: list[str], status: int) -> None:
    assert post(person(role), scopes=scopes).status_code == status
    assert ApiToken.objects.count() == (status == 201)


@pytest.mark.parametrize(
    ("own", "scopes", "status"),
    [
        (["admin", "read"], ["read"], 201),
        (["admin", "read"], ["admin"], 201),
        (["admin", "read"], ["dispatch"], 403),
        (["read", "dispatch", "operate"], ["read"], 403),
    ],
)
def test_a_token_makes_tokens_only_with_the_scope_admin_and_its_own_scopes(
    api: ApiClient, own: list[str], scopes: list[str], status: int
) -> None:
    assert post(api(*own), scopes=scopes).status_code == status


def test_a_tokens_token_ends_no_later_than_it_does(admin: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    client = Client(headers={"X-API-Key": create_token(admin, "t", ["admin", "read"], end)[1]})
    assert pointers(post(client)) == ["/expires_at"]
    assert pointers(post(client, expires_at=(end + timedelta(seconds=1)).isoformat())) == ["/expires_at"]
    assert post(client, expires_at=end.isoformat()).status_code == 201


@pytest.mark.parametrize(("role", "status"), [("operator", 403), ("admin", 201)])
def test_a_rate_limit_of_its_own_is_given_by_those_who_administer(person: Any, role: str, status: int) -> None:
    response = post(person(role), rate_limit="100/60s")
    assert response.status_code == status
    assert [token.rate_limit for token in ApiToken.objects.all()] == (["100/60s"] if status == 201 else [])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "x" * 61}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["write"]}, "/scopes/0"),
        ({"scopes": "read"}, "/scopes"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": 2000000000}, "/expires_at"),
        ({"rate_limit": "5/0s"}, "/rate_limit"),
        ({"rate_limit": "fast"}, "/rate_limit"),
        ({"user": 1}, "/user"),
    ],
)
def test_what_is_wrong_is_named_and_makes_nothing(person: Any, body: dict[str, Any], pointer: str) -> None:
    assert pointers(post(person("admin"), **body)) == [pointer]
    assert not ApiToken.objects.exists()


def test_there_is_an_end_to_how_many(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_api, "MAX_TOKENS", 2)
    client = person("viewer")
    first = post(client).json()["id"]
    assert [post(client).status_code for _ in range(2)] == [201, 409]
    client.delete(f"{PATH}/{first}")
    assert post(client).status_code == 201


def test_revoking_ends_it_and_may_be_said_twice(person: Any) -> None:
    client = person("viewer")
    made = post(client).json()
    assert [client.delete(f"{PATH}/{made['id']}").status_code for _ in range(2)] == [204, 204]
    assert authenticate_token(made["token"]) is None
    revoked_at = client.get(PATH).json()[0]["revoked_at"]
    assert abs(datetime.fromisoformat(revoked_at) - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("number", ["0", "x", "9" * 30, "-1", "²"])
def test_what_is_not_ones_own_is_unknown(person: Any, admin: User, number: str) -> None:
    token, raw = create_token(admin, "theirs", ["read"])
    client = person("admin")
    assert client.get(PATH).json() == []
    for unknown in (number, token.pk):
        assert client.delete(f"{PATH}/{unknown}").status_code == 404
    assert authenticate_token(raw) is not None


def test_a_session_needs_its_csrf_token(admin: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    assert post(client).status_code == 403
    assert not ApiToken.objects.exists()


def test_the_description_names_what_else_it_may_answer(api: ApiClient) -> None:
    paths = api("read").get("/openapi.json").json()["paths"]
    for path, method, status in ((PATH, "post", "409"), (f"{PATH}/{{token_id}}", "delete", "404")):
        assert list(paths[path][method]["responses"][status]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_is_one_query_however_long(person: Any, count: int, django_assert_num_queries: Any) -> None:
    client = person("viewer")
    for _ in range(count):
        create_token(User.objects.get(username="viewer"), "t", ["read"])
    with django_assert_num_queries(3):  # session, user, tokens
        assert len(client.get(PATH).json()) == count
