"""What every answer says to browsers, and what production insists on."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.conftest import REPOSITORY
from tests.integration.conftest import ApiClient

HTML = {"Accept": "text/html"}
PATHS = ["/", "/login/", "/admin/", "/admin/auth/user/", "/docs", "/no/such", "/tasks/all", "/openapi.json", "/admin/no/such/"]


def production(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the settings of production."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "zenith_site.settings",
        "PYTHONPATH": str(REPOSITORY),
        "ZENITH_ENV": "production",
        "ZENITH_SECRET_KEY": "0123456789abcdef" * 4,
        "ZENITH_DATA_DIR": str(tmp_path),
    }
    line = [sys.executable, "-W", "ignore", *command]
    return subprocess.run(line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_deployment_check_finds_nothing(tmp_path: Path) -> None:
    done = production(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert (done.returncode, done.stdout + done.stderr) == (0, "System check identified no issues (0 silenced).\n")


ASK = """
import django, json
django.setup()
from django.test import Client
plain = Client().get("/tasks/all", headers={"Host": "localhost"})
secure = Client().get("/tasks/all", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
from django.conf import settings
print(json.dumps({
    "plain": [plain.status_code, plain.headers["Location"]],
    "secure": [secure.status_code, dict(secure.headers)],
    "drills": settings.ZENITH_DRILLS,
    "cookies": [settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY],
}))
"""


def test_production_speaks_https_only_and_has_no_drills(tmp_path: Path) -> None:
    done = production(tmp_path, "-c", ASK)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["plain"] == [301, "https://localhost/tasks/all"]
    status, headers = told["secure"]
    assert status == 401
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert told["cookies"] == [True, True, True]
    assert told["drills"] is False


@pytest.fixture
def client(admin: User) -> Client:
    client = Client(headers=HTML)
    client.force_login(admin)
    return client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_tells_the_browser_to_be_strict(client: Client, path: str, known: bool) -> None:
    headers = (client if known else Client(headers=HTML)).get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= {part.strip() for part in policy.split(";")}
    assert "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_static_files_are_told_about_too(client: Client) -> None:
    response = client.get("/static/css/base.css")
    assert response.status_code == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_static_files_may_be_kept(client: Client) -> None:
    assert "public" in client.get("/static/css/base.css").headers["Cache-Control"]


@pytest.mark.parametrize("path", [path for path in PATHS if "no/such" not in path])
def test_no_page_needs_what_the_policy_forbids(client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert not re.search(r"""\sstyle=["']|<style(?![^>]*nonce=)|\son[a-z]+=["']|javascript:""", page)
    for attributes in re.findall(r"<script([^>]*)>", page):
        assert "src=" in attributes or "nonce=" in attributes or "json" in attributes


@pytest.mark.parametrize("method", ["get", "options"])
@pytest.mark.parametrize("path", ["/tasks/all", "/api/v1/tokens", "/", "/health"])
def test_no_other_site_may_read_anything(api: ApiClient, path: str, method: str) -> None:
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key",
    }
    response = getattr(api("read"), method)(path, headers=headers)
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]


def test_a_host_that_is_not_ours_is_one_line_in_the_log(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("django.security.DisallowedHost")
    logger.addHandler(handler)
    try:
        assert Client().get("/", headers={"Host": "evil.example"}).status_code == 400
    finally:
        logger.removeHandler(handler)
    [record] = records
    shown = logging.Formatter("%(message)s").format(record)
    assert "evil.example" in shown
    assert "\n" not in shown


@pytest.mark.parametrize("depth", [40, 900, 100_000])
def test_json_is_read_to_a_limited_depth(api: ApiClient, depth: int) -> None:
    body = '{"kwargs": {"data": %s}}' % ("[" * depth + "]" * depth)
    response = api("dispatch").post("/tasks/trigger", data=body, content_type="application/json")
    assert response.status_code == 422
    assert "nested more than 32 levels deep" in response.content.decode()
