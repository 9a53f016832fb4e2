"""API tokens: kept as a hash, refused when expired, revoked or orphaned, and noted when used."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from tests.tokens import authenticate_token
from zenith_site.auth.tokens import create_token
from zenith_site.models import ApiToken


@pytest.fixture
def pair(admin: Any) -> tuple[ApiToken, str]:
    return create_token(admin, "billing", ["dispatch", "read"])


def test_a_token_has_the_documented_form_and_only_its_hash_is_kept(pair: Any) -> None:
    token, raw = pair
    assert re.fullmatch(r"zen_[A-Za-z0-9_-]{43}", raw)
    assert token.prefix == raw[:8]
    assert re.fullmatch(r"[0-9a-f]{64}", token.hash)
    stored = ApiToken.objects.filter(pk=token.pk).values().get()
    assert raw not in json.dumps(stored, default=str)
    assert stored["scopes"] == ["read", "dispatch"]


def test_the_right_token_is_found_in_one_query(pair: Any, django_assert_num_queries: Any) -> None:
    token, raw = pair
    authenticate_token(raw)
    with django_assert_num_queries(1):
        found = authenticate_token(raw)
        assert found is not None
        assert found.user.is_superuser
    assert found.pk == token.pk


@pytest.mark.parametrize("raw", ["", "zen_", "zen_" + "A" * 43, "\udcff", "x" * 100_000])
def test_another_token_is_not(pair: Any, raw: str) -> None:
    assert authenticate_token(raw) is None


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"revoked_at": timezone.now()},
    ],
)
def test_an_expired_or_revoked_token_opens_nothing(pair: Any, change: dict[str, Any]) -> None:
    token, raw = pair
    ApiToken.objects.filter(pk=token.pk).update(**change)
    assert authenticate_token(raw) is None
    assert Client(headers={"X-API-Key": raw}).get("/tasks/all").status_code == 401


def test_a_token_expires_in_its_time(admin: Any) -> None:
    _, raw = create_token(admin, "t", ["read"], timezone.now() + timedelta(minutes=1))
    assert authenticate_token(raw) is not None


def test_a_token_ends_with_its_user(pair: Any, admin: Any) -> None:
    _, raw = pair
    admin.is_active = False
    admin.save()
    assert authenticate_token(raw) is None
    admin.delete()
    assert not ApiToken.objects.exists()


def test_its_use_is_noted_at_most_once_a_minute(pair: Any, django_assert_num_queries: Any) -> None:
    token, raw = pair
    assert token.last_used_at is None
    authenticate_token(raw)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    authenticate_token(raw)
    token.refresh_from_db()
    assert token.last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    authenticate_token(raw)
    token.refresh_from_db()
    assert token.last_used_at > first


@pytest.mark.parametrize(
    "headers",
    [
        lambda raw: {"X-API-Key": raw},
        lambda raw: {"Authorization": f"Bearer {raw}"},
        lambda raw: {"Authorization": f"bearer {raw}"},
        lambda raw: {"X-API-Key": f" {raw} "},
    ],
)
def test_both_header_fields_are_understood(pair: Any, headers: Any) -> None:
    assert Client(headers=headers(pair[1])).get("/tasks/all").status_code == 200


def test_a_wrong_token_is_refused_even_with_a_session(admin: Any) -> None:
    client = Client(headers={"X-API-Key": "zen_wrong"})
    client.force_login(admin)
    assert client.get("/tasks/all").status_code == 401


def test_a_token_needs_a_known_scope(admin: Any) -> None:
    for scopes in ([], ["write"]):
        with pytest.raises(ValueError, match=r"scope|write"):
            create_token(admin, "t", scopes)


@pytest.mark.parametrize("scopes", [[], ["write"]])
def test_the_database_keeps_no_other_scopes_either(admin: Any, scopes: list[str]) -> None:
    with pytest.raises(IntegrityError):
        ApiToken.objects.create(user=admin, name="t", scopes=scopes, hash="0" * 64)


def run(*args: str) -> str:
    out = StringIO()
    call_command("create_token", *args, stdout=out)
    return out.getvalue().strip()


def test_the_command_prints_a_token_that_works(admin: Any) -> None:
    found = authenticate_token(run("root"))
    assert found is not None
    assert (found.scopes, found.name, found.expires_at) == (["read"], "command line", None)


def test_the_command_prints_json(admin: Any) -> None:
    answer = json.loads(
        run(
            "root",
            "--scope",
            "read",
            "--scope",
            "dispatch",
            "--name",
            "ci",
            "--expires-days",
            "7",
            "--json",
        )
    )
    found = authenticate_token(answer["token"])
    assert found is not None
    assert answer["scopes"] == found.scopes == ["read", "dispatch"]
    assert found.expires_at is not None
    assert timedelta(days=6) < found.expires_at - timezone.now() < timedelta(days=8)


@pytest.mark.parametrize(
    "args",
    [
        ["nobody"],
        ["root", "--scope", "write"],
        ["root", "--rate-limit", "5"],
        ["root", "--expires-days", "0"],
        ["root", "--name", ""],
    ],
)
def test_the_command_refuses_what_makes_no_sense(admin: Any, args: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*args)
    assert not ApiToken.objects.exists()


def test_the_command_limits_a_token_to_applications(admin: Any) -> None:
    token = json.loads(run("root", "--application", "zenith", "--json"))
    assert token["applications"] == ["zenith"]
    assert authenticate_token(token["token"]).effective_applications == {"zenith"}  # type: ignore[union-attr]
    with pytest.raises(CommandError, match=r"There is no application 'shop'; applications are: zenith\."):
        run("root", "--application", "shop")
