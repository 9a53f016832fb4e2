"""Forms that are refused: an expired one is told from one whose origin is not known, and the latter names what to set."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from zenith_site.auth import csrf

pytestmark = pytest.mark.django_db

OWN = "https://zenith.example.com"
SET = f"ZENITH_CSRF_TRUSTED_ORIGINS={OWN}"


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["zenith.example.com", "localhost"]
    csrf._logged_origins.clear()


def log_in(origin: str | None = OWN, host: str = "zenith.example.com", **headers: str) -> tuple[int, str]:
    """Send the login's form as a browser does behind a proxy that ends TLS."""
    client = Client(enforce_csrf_checks=True, headers={"Accept": "text/html", "Host": host})
    page = client.get("/login/").content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {"username": "x", "password": "y", "csrfmiddlewaretoken": token}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    response = client.post("/login/", form, headers={**given, **({"Origin": origin} if origin else {})})
    return response.status_code, " ".join(response.content.decode().split())


def test_the_address_behind_a_proxy_is_named_with_what_to_set() -> None:
    status, page = log_in()
    assert status == 403
    assert "Zenith does not know this address" in page
    assert f"<code>{SET}</code>" in page
    assert "expired" not in page
    assert "ZENITH_HTTPS" not in page


def test_where_the_proxy_says_https_that_can_be_believed_instead() -> None:
    _, page = log_in(X_Forwarded_Proto="https")
    assert f"<code>{SET}</code> or <code>ZENITH_HTTPS=true</code>" in page


def test_what_is_named_mends_it(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [OWN]
    assert log_in()[0] == 200
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert log_in(X_Forwarded_Proto="https")[0] == 200
    assert log_in()[0] == 403


def test_another_host_or_port_than_the_proxy_passes_on_is_named_too() -> None:
    assert f"<code>{SET}</code>" in log_in(host="localhost")[1]
    assert "ZENITH_CSRF_TRUSTED_ORIGINS=http://localhost:9000" in log_in("http://localhost:9000", host="localhost:8000")[1]
    # Behind it is another host: believing the proxy's https alone would not help.
    assert "ZENITH_HTTPS" not in log_in(host="localhost", X_Forwarded_Proto="https")[1]


@pytest.mark.parametrize("sender", ["cross-site", "same-site"])
def test_a_form_of_another_site_names_no_setting(sender: str) -> None:
    status, page = log_in("https://evil.example", Sec_Fetch_Site=sender)
    assert (status, "not from this site" in page) == (403, True)
    assert "ZENITH_" not in page


@pytest.mark.parametrize(
    "origin", ["null", "https://a b", 'https://"><script>', "ftp://x", "https://x/y", "https://" + "a" * 300]
)
def test_what_is_no_origin_is_not_shown(origin: str) -> None:
    status, page = log_in(origin)
    assert status == 403
    assert "ZENITH_" not in page
    assert "script>" not in page.split("<main")[1]


def test_without_an_origin_the_referer_tells(settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    _, page = log_in(None, host="localhost", X_Forwarded_Proto="https", Referer=f"{OWN}/login/")
    assert f"<code>{SET}</code>" in page
    for referer in ("", "https://[x", "nothing"):
        assert "That form has expired" in log_in(None, host="localhost", X_Forwarded_Proto="https", Referer=referer)[1]


def test_a_form_without_its_token_has_expired(admin: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Accept": "text/html", "Host": "localhost"})
    client.force_login(admin)
    page = client.post("/settings/theme/", {"theme": "dark"}, headers={"Origin": "http://localhost"}).content.decode()
    assert "That form has expired" in page
    assert "ZENITH_" not in page


def test_the_log_tells_the_operator_once_for_each_origin_and_of_so_many(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="zenith_site"):
        for _ in range(3):
            log_in()
        log_in("https://evil.example", Sec_Fetch_Site="cross-site")
    told = [record.getMessage() for record in caplog.records if record.name == "zenith_site.auth.csrf"]
    assert len(told) == 1
    assert SET in told[0]
    for number in range(30):
        log_in(f"https://a{number}.example")
    assert len(csrf._logged_origins) == csrf._MAX_LOGGED


def test_programs_with_a_session_are_told_too(admin: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Host": "zenith.example.com", "Accept": "application/json"})
    client.force_login(admin)
    for path in ("/api/v1/tokens", "/tasks/trigger", "/settings/theme/"):
        response = client.post(path, {}, content_type="application/json", headers={"Origin": OWN})
        assert response.status_code == 403
        assert SET in response.json()["detail"]
        response = client.post(path, {}, content_type="application/json")
        assert "CSRF token is missing" in response.json()["detail"]
