"""The first admin and its API key: made once, kept, and following what is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.utils import timezone

from tests.tokens import authenticate_token
from zenith_site.auth.bootstrap import ensure_admin
from zenith_site.models import ApiToken


@pytest.fixture(autouse=True)
def house(db: None, settings: Any, tmp_path: Path) -> Any:
    settings.ZENITH_DATA_DIR = tmp_path
    settings.ZENITH_API_KEY = settings.ZENITH_ADMIN_PASSWORD = ""
    return settings


def test_an_empty_database_gets_an_admin_with_a_password_and_a_key(house: Any) -> None:
    username, password, key = ensure_admin()
    user = User.objects.get()
    assert username == user.get_username() == "admin"
    assert user.is_superuser
    assert password is not None
    assert len(password) >= 20
    assert user.check_password(password)
    token = authenticate_token(key)
    assert token is not None
    assert (token.user, token.scopes) == (user, ["read", "dispatch", "operate", "infra", "admin"])


def test_running_it_again_changes_nothing(house: Any) -> None:
    assert ensure_admin() == ensure_admin()
    assert User.objects.count() == ApiToken.objects.count() == 1


def test_what_it_made_up_only_the_owner_can_read(house: Any) -> None:
    ensure_admin()
    for file in (house.ZENITH_DATA_DIR / "secrets").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_a_configured_name_password_and_key_are_used(house: Any) -> None:
    house.ZENITH_ADMIN_USERNAME = "ada"
    house.ZENITH_ADMIN_PASSWORD = "chosen by ada"
    house.ZENITH_API_KEY = "chosen-by-ada-and-long-enough"
    assert ensure_admin() == ("ada", None, "chosen-by-ada-and-long-enough")
    assert User.objects.get().check_password("chosen by ada")
    assert authenticate_token("chosen-by-ada-and-long-enough") is not None


def test_a_changed_key_replaces_the_former(house: Any) -> None:
    _, _, former = ensure_admin()
    house.ZENITH_API_KEY = "a-new-key-of-some-length"
    ensure_admin()
    assert authenticate_token(former) is None
    assert authenticate_token("a-new-key-of-some-length") is not None
    assert ApiToken.objects.count() == 1


def test_other_tokens_stay(house: Any) -> None:
    from zenith_site.auth.tokens import create_token

    ensure_admin()
    _, raw = create_token(User.objects.get(), "billing", ["read"])
    ensure_admin()
    assert authenticate_token(raw) is not None


def test_a_password_that_was_changed_is_not_told(house: Any) -> None:
    ensure_admin()
    user = User.objects.get()
    user.set_password("changed since")
    user.save()
    assert ensure_admin()[1] is None


def test_a_generated_key_that_was_revoked_is_replaced(house: Any) -> None:
    _, _, former = ensure_admin()
    ApiToken.objects.update(revoked_at=timezone.now())
    _, _, key = ensure_admin()
    assert key != former
    assert authenticate_token(former) is None
    assert authenticate_token(key) is not None


def test_a_superuser_who_is_there_already_is_the_admin(house: Any) -> None:
    User.objects.create_superuser("grace", password="hers")
    username, password, key = ensure_admin()
    assert (username, password) == ("grace", None)
    assert authenticate_token(key) is not None
    assert User.objects.count() == 1


def test_a_name_that_belongs_to_somebody_else_is_not_taken_over(house: Any) -> None:
    User.objects.create_user("admin", password="mine")
    with pytest.raises(CommandError, match="ZENITH_ADMIN_USERNAME"):
        ensure_admin()
    assert not User.objects.get().is_superuser


def test_no_more_than_a_quarter_of_a_short_key_is_shown(house: Any) -> None:
    house.ZENITH_API_KEY = "abcdefghij" * 2
    ensure_admin()
    assert ApiToken.objects.get().prefix == "abcde"
