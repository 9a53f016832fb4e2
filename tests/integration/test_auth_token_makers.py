"""A token that was made with another token has no more than it, and ends with it, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.tokens import authenticate_token
from zenith_site.auth import token_api
from zenith_site.auth.bootstrap import ensure_admin
from zenith_site.auth.tokens import create_token
from zenith_site.auth.watch import Credential, valid_credentials
from zenith_site.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db

PATH = "/api/v1/tokens"
ALL = ["read", "dispatch", "operate", "infra", "admin"]


def make(raw: str, scopes: list[str] | None = None, **body: Any) -> dict[str, Any]:
    """Make a token with a token; return the answer."""
    client = Client(headers={"X-API-Key": raw})
    response = client.post(PATH, {"name": "child", "scopes": scopes or ALL, **body}, content_type="application/json")
    assert response.status_code == 201, response.content
    return dict(response.json())


@pytest.fixture
def chain(admin: User) -> tuple[list[ApiToken], list[str]]:
    """A token, one that it made, and one which that made."""
    token, raw = create_token(admin, "first", ALL)
    raws = [raw, second := make(raw)["token"], make(second)["token"]]
    return [token, *ApiToken.objects.filter(pk__gt=token.pk).order_by("pk")], raws


def opens(raws: list[str]) -> list[bool]:
    """Which of them open something: by the API, and for a socket."""
    found = [Client(headers={"X-API-Key": raw}).get(PATH).status_code == 200 for raw in raws]
    assert [authenticate_token(raw) is not None for raw in raws] == found
    return found


def by_the_api(token: ApiToken, client: Client) -> None:
    assert client.delete(f"{PATH}/{token.pk}").status_code == 204


def by_the_page(token: ApiToken, client: Client) -> None:
    assert client.post(f"/settings/tokens/{token.pk}/revoke/").status_code == 302


def by_the_admins_action(token: ApiToken, client: Client) -> None:
    client.post("/admin/zenith_site/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})


def by_deleting_it(token: ApiToken, client: Client) -> None:
    client.post(f"/admin/zenith_site/apitoken/{token.pk}/delete/", {"post": "yes"})
    assert not ApiToken.objects.filter(pk=token.pk).exists()


def by_its_time(token: ApiToken, client: Client) -> None:
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def by_hand_in_the_database(token: ApiToken, client: Client) -> None:
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())


def by_its_user(token: ApiToken, client: Client) -> None:
    # An administrator has given it to somebody else, who has left.
    other, _ = User.objects.get_or_create(username="gone", is_active=False, is_superuser=True)
    ApiToken.objects.filter(pk=token.pk).update(user=other)


WAYS: list[Callable[[ApiToken, Client], None]] = [
    by_the_api, by_the_page, by_the_admins_action, by_deleting_it, by_its_time, by_hand_in_the_database, by_its_user,
]  # fmt: skip


@pytest.mark.parametrize("end", WAYS)
def test_whatever_ends_a_token_ends_all_that_come_from_it(
    chain: Any, admin: User, end: Callable[[ApiToken, Client], None]
) -> None:
    tokens, raws = chain
    person = Client(headers={"Accept": "text/html"})
    person.force_login(admin)
    credentials = {Credential("token", str(token.pk)) for token in tokens}
    assert opens(raws) == [True, True, True]
    assert valid_credentials(credentials) == credentials
    end(tokens[1], person)
    assert opens(raws) == [True, False, False]
    assert valid_credentials(credentials) == {Credential("token", str(tokens[0].pk))}
    end(tokens[0], person)
    assert opens(raws) == [False, False, False]


def test_a_user_that_is_deactivated_ends_all(chain: Any, admin: User) -> None:
    User.objects.update(is_active=False)
    assert [authenticate_token(raw) for raw in chain[1]] == [None] * 3


def test_what_was_revoked_with_its_maker_stays_so(chain: Any, settings: Any) -> None:
    tokens, raws = chain
    settings.ZENITH_API_KEY = raws[0]
    person = Client()
    person.force_login(tokens[0].user)
    by_the_api(tokens[0], person)
    assert ApiToken.objects.filter(revoked_at=None).count() == 0
    # The next start makes the configured key valid again, and none of those that were made with it.
    ensure_admin()
    assert opens(raws) == [True, False, False]


def test_a_configured_key_that_was_revoked_by_hand_takes_its_tokens_along_too(chain: Any, settings: Any) -> None:
    tokens, raws = chain
    settings.ZENITH_API_KEY = raws[0]
    by_hand_in_the_database(tokens[0], Client())
    ensure_admin()
    assert opens(raws) == [True, False, False]


def test_a_key_that_was_replaced_takes_its_tokens_along(admin: User, settings: Any) -> None:
    settings.ZENITH_API_KEY = "the-first-key-of-some-length"
    ensure_admin()
    child = make(settings.ZENITH_API_KEY)["token"]
    assert opens([child]) == [True]
    settings.ZENITH_API_KEY = "the-second-key-of-some-length"
    ensure_admin()
    assert opens([child, settings.ZENITH_API_KEY]) == [False, True]


def test_a_token_has_no_more_scope_than_its_makers_have_by_now(chain: Any) -> None:
    tokens, raws = chain
    ApiToken.objects.filter(pk=tokens[0].pk).update(scopes=["read"])
    ApiToken.objects.filter(pk=tokens[2].pk).update(scopes=ALL)
    client = Client(headers={"X-API-Key": raws[2]})
    assert client.get("/tasks/all").status_code == 200
    assert client.post("/tasks/trigger", {"count": 1}, content_type="application/json").status_code == 403
    assert client.get(PATH).status_code == 403


def test_a_token_without_a_scope_that_its_makers_have_left_opens_no_socket(chain: Any) -> None:
    tokens, _ = chain
    ApiToken.objects.filter(pk=tokens[0].pk).update(scopes=["dispatch"])
    assert valid_credentials({Credential("token", str(tokens[2].pk))}) == set()


def test_a_token_lives_no_longer_than_its_makers_do_by_now(chain: Any) -> None:
    tokens, raws = chain
    end = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    ApiToken.objects.filter(pk=tokens[0].pk).update(expires_at=end)
    # The one in use has no end of its own.
    client = Client(headers={"X-API-Key": raws[2]})
    later = {"name": "t", "scopes": ["read"], "expires_at": (end + timedelta(seconds=1)).isoformat()}
    assert client.post(PATH, later, content_type="application/json").status_code == 422
    assert make(raws[2], expires_at=end.isoformat())["made_by"] == tokens[2].pk
    listed = {token["id"]: token["expires_at"] for token in client.get(PATH).json()}
    assert {listed[token.pk] for token in tokens} == {end.isoformat().replace("+00:00", "Z")}


def test_an_administrator_cannot_give_a_token_more_than_its_maker_has(chain: Any, admin: User) -> None:
    tokens, _ = chain
    end = timezone.now().replace(microsecond=0) + timedelta(days=2)
    ApiToken.objects.filter(pk=tokens[0].pk).update(scopes=["read", "admin"], expires_at=end)
    client = Client(headers={"Accept": "text/html"})
    client.force_login(admin)
    form = {"name": "t", "user": admin.pk, "scopes": ["read", "dispatch"], "expires_at_0": "", "expires_at_1": ""}
    page = client.post(f"/admin/zenith_site/apitoken/{tokens[1].pk}/change/", form).content.decode()
    assert "The parent token does not have: dispatch." in page
    assert "The parent token expires at" in page
    right = {**form, "scopes": ["read"], "expires_at_0": f"{end:%Y-%m-%d}", "expires_at_1": f"{end:%H:%M:%S}"}
    assert client.post(f"/admin/zenith_site/apitoken/{tokens[1].pk}/change/", right).status_code == 302


def test_pages_and_api_tell_by_which_token_it_was_made(chain: Any, admin: User) -> None:
    tokens, raws = chain
    listed = Client(headers={"X-API-Key": raws[0]}).get(PATH).json()
    assert [token["made_by"] for token in listed] == [tokens[1].pk, tokens[0].pk, None]
    person = Client(headers={"Accept": "text/html"})
    person.force_login(admin)
    page = " ".join(person.get("/settings/").content.decode().split())
    assert f"made with {tokens[0].name} ({tokens[0].prefix}…)" in page
    assert f"{tokens[0].name} ({tokens[0].prefix}…)" in person.get("/admin/zenith_site/apitoken/").content.decode()
    ApiToken.objects.filter(pk=tokens[1].pk).delete()
    page = " ".join(person.get("/settings/").content.decode().split())
    assert "made with a deleted token" in page
    assert "expired with its parent token" in page


def test_revoking_tells_how_many_go_along(chain: Any, admin: User) -> None:
    tokens, _ = chain
    person = Client(headers={"Accept": "text/html"})
    person.force_login(admin)
    assert (
        "This also revokes the 2 tokens that were made with it."
        in person.get(f"/settings/tokens/{tokens[0].pk}/revoke/").content.decode()
    )
    assert "made with it" not in person.get(f"/settings/tokens/{tokens[2].pk}/revoke/").content.decode()
    by_the_page(tokens[0], person)
    entry = AuditEntry.objects.filter(action__contains="revoke").get()
    assert entry.detail == {"revoked": str(tokens[0]), "made_with_it": 2}


def test_what_ended_with_its_maker_takes_no_place(chain: Any, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, _ = chain
    monkeypatch.setattr(token_api, "MAX_TOKENS", 2)
    tokens[1].delete()
    client = Client()
    client.force_login(admin)
    body = {"name": "t", "scopes": ["read"]}
    assert [client.post(PATH, body, content_type="application/json").status_code for _ in range(2)] == [201, 409]


def test_one_query_finds_a_token_and_one_more_its_makers(chain: Any, django_assert_num_queries: Any) -> None:
    _, raws = chain
    for raw, queries in ((raws[0], 1), (raws[2], 2)):
        authenticate_token(raw)
        with django_assert_num_queries(queries):
            assert authenticate_token(raw) is not None


def test_the_list_is_one_query_more_however_long_the_chains(chain: Any, admin: User, django_assert_num_queries: Any) -> None:
    client = Client()
    client.force_login(admin)
    with django_assert_num_queries(4):  # session, user, tokens, makers
        assert len(client.get(PATH).json()) == 3
