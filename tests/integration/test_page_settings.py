"""The Settings page: tokens shown once, what a person may change, and what only those see who administer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from zenith_site.models import ApiToken, AuditEntry
from zenith_site.settings_catalog import SECTIONS

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough one"


@pytest.fixture
def vera() -> User:
    return User.objects.create_user("vera", password=PASSWORD)


@pytest.fixture
def person(vera: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(vera)
    return client


def test_a_token_is_shown_once_and_opens_the_api(person: Client) -> None:
    page = person.post("/settings/tokens/", {"name": "wall", "scopes": ["read"]}, follow=True).content.decode()
    raw = re.search(r"zen_[\w-]{40,}", page)
    assert raw
    assert Client(headers={"X-API-Key": raw[0]}).get("/tasks/all").status_code == 200
    assert raw[0] not in person.get("/settings/").content.decode()
    assert raw[0] not in str(AuditEntry.objects.values())


def test_nobody_is_offered_or_given_a_scope_that_they_lack(person: Client) -> None:
    assert 'value="operate"' not in person.get("/settings/tokens/").content.decode()
    assert person.post("/settings/tokens/", {"name": "x", "scopes": ["operate"]}).status_code == 422
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "x", "expires_at": "2020-01-01"}, {"name": "x", "expires_at": "soon"}])
def test_what_is_wrong_is_said_and_makes_nothing(person: Client, body: dict[str, str]) -> None:
    answer = person.post("/settings/tokens/", {"scopes": ["read"], **body})
    assert answer.status_code == 422
    assert "field-error" in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_after_a_question(person: Client, vera: User) -> None:
    person.post("/settings/tokens/", {"name": "wall", "scopes": ["read"]})
    token = ApiToken.objects.get(user=vera)
    assert "cannot be undone" in person.get(f"/settings/tokens/{token.pk}/revoke/").content.decode()
    person.post(f"/settings/tokens/{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_at
    other = ApiToken.objects.create(user=User.objects.create_user("olga"), name="hers", scopes=["read"], hash="x")
    assert person.post(f"/settings/tokens/{other.pk}/revoke/").status_code == 404


def test_the_profile_and_the_theme_are_kept(person: Client, vera: User) -> None:
    person.post("/settings/profile/", {"first_name": "Vera", "last_name": "", "email": "vera@example.com", "is_superuser": "1"})
    vera.refresh_from_db()
    assert (vera.first_name, vera.email, vera.is_superuser) == ("Vera", "vera@example.com", False)
    person.post("/settings/theme/", {"theme": "light"})
    assert 'data-theme="light"' in person.get("/settings/").content.decode()
    person.post("/settings/theme/", {"theme": "system"})
    assert "data-theme=" not in person.get("/settings/").content.decode().split(">")[1]


def test_the_password_is_changed_by_who_knows_the_old_one(person: Client, vera: User) -> None:
    new = {"new_password1": "another good one", "new_password2": "another good one"}
    assert person.post("/settings/password/", {"old_password": "guess", **new}).status_code == 422
    person.post("/settings/password/", {"old_password": PASSWORD, **new})
    vera.refresh_from_db()
    assert vera.check_password("another good one")
    assert person.get("/settings/").status_code == 200


@pytest.fixture
def root(admin: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(admin)
    return client


def test_the_configuration_is_for_those_who_administer_and_without_secrets(person: Client, root: Client, settings: Any) -> None:
    settings.ZENITH_API_KEY = "zen_a-key-that-nobody-sees"
    settings.ZENITH_AGENT_ENGINE = "tcp://user:hunter22@docker:2376"
    assert person.get("/settings/configuration/").status_code == 403
    page = root.get("/settings/configuration/").content.decode()
    assert "ZENITH_RATE_LIMIT" in page
    assert "nobody-sees" not in page
    assert "hunter22" not in page
    assert settings.SECRET_KEY not in page


def test_settings_are_found_by_what_they_mean_and_what_they_are_called(root: Client, settings: Any) -> None:
    settings.ZENITH_RETENTION_DAYS = 12
    response = root.get("/settings/configuration/?q=finished+tasks")
    found = [setting.variable for _, matching in response.context["sections"] for setting in matching]
    assert "ZENITH_RETENTION_DAYS" in found
    assert "12 days" in response.content.decode()
    assert root.get("/settings/configuration/?q=nothing+like+this").context["count"] == 0
    assert root.get("/settings/configuration/?q=%00%F0%28").status_code == 200


def test_every_documented_variable_is_among_the_settings() -> None:
    table = (Path(__file__).parents[2] / "docs/configuration.md").read_text().split("[Security](security.md)")[0]
    documented = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z_]+)`", line[: line.index("|", 2)])
    }
    # Read by docker-compose.yml only.
    compose = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "ZENITH_IMAGE", "ZENITH_FLOWER_PORT", "ZENITH_DOCKER_SOCKET"}
    listed = {setting.variable for section in SECTIONS for setting in section.settings}
    assert documented - compose == {name for name in listed if name.isupper()}


def test_every_setting_has_a_value() -> None:
    for section in SECTIONS:
        for setting in section.settings:
            assert setting.value
            assert setting.label
            assert setting.meaning.endswith(".")
