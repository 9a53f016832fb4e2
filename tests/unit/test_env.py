"""Wrong settings stop the start with one line that names the variable, its value and what is accepted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from zenith_site.env import Environment, Rate, WrongSetting, read_dotenv, without_password

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5/60s", Rate(5, 60)), ("100/m", Rate(100, 60)), ("1000/2h", Rate(1000, 7200)), (" 1/1s ", Rate(1, 1)), ("", Rate(5, 60))],
)
def test_a_rate_is_a_count_and_a_period(value: str, expected: Rate) -> None:
    assert Environment({"R": value}).rate("R", "5/60s") == expected


@pytest.mark.parametrize("value", ["5", "0/60s", "5/0s", "5/60", "-1/60s", "5/60d", "five/60s", "5/60s,1/s"])
def test_a_rate_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match=r"R=.* is not accepted: it takes COUNT/PERIOD"):
        Environment({"R": value}).rate("R", "5/60s")


@pytest.mark.parametrize("value", ["0", "65536", "80.5", "eighty", "1e3", "٨٠", "9" * 400])
def test_a_number_out_of_bounds_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match="takes a whole number from 1 to 65535") as caught:
        Environment({"P": value}).integer("P", 8000, minimum=1, maximum=65535)
    assert len(str(caught.value)) < 300


def test_an_empty_value_counts_as_not_set() -> None:
    environment = Environment({"P": "", "T": " ", "B": ""})
    assert environment.integer("P", 8000, minimum=1, maximum=65535) == 8000
    assert environment.text("T", "default") == "default"
    assert environment.boolean("B", default=True) is True


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("ON", True), ("1", True), ("no", False), ("False", False)])
def test_a_boolean_has_the_usual_spellings(value: str, expected: bool) -> None:
    assert Environment({"B": value}).boolean("B", default=not expected) is expected


def test_another_spelling_of_a_boolean_is_refused() -> None:
    with pytest.raises(WrongSetting, match="takes true or false"):
        Environment({"B": "maybe"}).boolean("B", default=False)


def test_a_choice_outside_its_options_is_refused() -> None:
    with pytest.raises(WrongSetting, match="E='prod' is not accepted: it takes one of development, production"):
        Environment({"E": "prod"}).choice("E", ("development", "production"), "development")


@pytest.mark.parametrize("value", ["https://hooks.example.com/T/B/x", "http://10.0.0.5:8080/"])
def test_a_webhook_is_any_address_of_the_web(value: str) -> None:
    assert Environment({"W": value}).webhook("W", example="https://example.com") == value


@pytest.mark.parametrize(
    "value", [f"//x/{PASSWORD}", f"https:///{PASSWORD}", f"https://ada:{PASSWORD}@x/", f"https://x:port/{PASSWORD}"]
)
def test_another_address_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(WrongSetting, match=r"W='\*\*\*' is not accepted") as caught:
        Environment({"W": value}).webhook("W", example="https://example.com")
    assert PASSWORD not in str(caught.value)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret with space"
    path.write_text(f"{PASSWORD}\n")
    assert Environment({"S_FILE": str(path)}).secret("S") == PASSWORD


def test_a_secret_set_twice_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("other")
    with pytest.raises(WrongSetting, match="S and S_FILE are both set") as caught:
        Environment({"S": PASSWORD, "S_FILE": str(path)}).secret("S")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_secret_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongSetting, match=r"S_FILE=.*secret' is not accepted"):
        Environment({"S_FILE": str(path)}).secret("S")


@pytest.mark.parametrize("value", ["https://h", "h:8000", "a b", "-h", "h/path"])
def test_a_host_with_more_than_its_name_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match="takes comma-separated host names"):
        Environment({"H": value}).hosts("H")


def test_hosts_are_a_list() -> None:
    assert Environment({"H": "zenith.example.com, .example.org,*,[::1],"}).hosts("H") == [
        "zenith.example.com",
        ".example.org",
        "*",
        "[::1]",
    ]


def test_patterns_of_names_are_a_list() -> None:
    assert Environment({"P": "SHOP_*, TZ,"}).name_patterns("P", ["APP_*"]) == ["SHOP_*", "TZ"]
    assert Environment({}).name_patterns("P", ["APP_*"]) == ["APP_*"]


@pytest.mark.parametrize("value", ["A=b", "1A", "A B", "A?", "[A]*"])
def test_a_pattern_that_fits_no_name_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match="takes comma-separated names of variables"):
        Environment({"P": value}).name_patterns("P", [])


@pytest.mark.parametrize("value", ["example.com", "ftp://example.com", "https://example.com/path", "https://example.com:port"])
def test_an_origin_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match="takes comma-separated origins"):
        Environment({"O": value}).origins("O")


@pytest.mark.parametrize("value", ["shop/tasks.py", "shop-tasks", "shop..tasks", "1shop"])
def test_a_module_that_is_no_dotted_name_is_refused(value: str) -> None:
    with pytest.raises(WrongSetting, match="takes comma-separated Python modules"):
        Environment({"M": value}).modules("M")


@pytest.mark.parametrize("value", [f"mysql://u:{PASSWORD}@h/d", f"postgres://u:{PASSWORD}@h:port/d", "postgres://", PASSWORD])
def test_a_database_address_is_refused_without_showing_its_password(value: str) -> None:
    with pytest.raises(WrongSetting, match=r"DATABASE_URL=.* is not accepted: it takes an address such as p://h") as caught:
        Environment({"DATABASE_URL": value}).url("DATABASE_URL", schemes=("postgres",), example="p://h")
    assert PASSWORD not in str(caught.value)


def test_a_password_is_hidden_whatever_it_contains() -> None:
    assert without_password("redis://user:p@ss@h:1/0") == "redis://***@h:1/0"
    assert without_password("redis://h:1/0") == "redis://h:1/0"


def test_a_dotenv_file_does_not_replace_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENITH_TEST_SET", "shell")
    monkeypatch.setenv("ZENITH_TEST_NEW", "")
    monkeypatch.delenv("ZENITH_TEST_NEW")
    path = tmp_path / ".env"
    path.write_text("# a comment\nZENITH_TEST_SET=file\nZENITH_TEST_NEW='with space'\n")
    read_dotenv(path)
    assert (os.environ["ZENITH_TEST_SET"], os.environ["ZENITH_TEST_NEW"]) == ("shell", "with space")


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("ZENITH_PORT", "http", ("manage.py", "up")),
        ("ZENITH_RATE_LIMIT", "many", ("manage.py", "check")),
        ("ZENITH_READ_RATE_LIMIT", "0/s", ("manage.py", "check")),
        ("ZENITH_MASK_STORED", "perhaps", ("manage.py", "check")),
        ("DATABASE_URL", f"sqlite://{PASSWORD}@x", ("-m", "celery", "-A", "zenith_site", "worker")),
        ("REDIS_URL", "localhost:6379", ("-m", "daphne", "zenith_site.asgi:application")),
        ("ZENITH_ENV", "production", ("manage.py", "check")),
        ("ZENITH_SECRET_KEY", PASSWORD, ("manage.py", "check")),
        ("ZENITH_API_KEY", PASSWORD, ("manage.py", "check")),
        ("ZENITH_RETENTION_DAYS", "0", ("manage.py", "check")),
        ("ZENITH_TRUSTED_PROXIES", "all", ("manage.py", "check")),
        ("ZENITH_WORKER_CONCURRENCY", "-1", ("manage.py", "check")),
        ("ZENITH_TASK_MODULES", "a b", ("manage.py", "check")),
        ("PORT", "x", ("manage.py", "check")),
        ("ZENITH_NOTIFY_ROUTES", "pager=all", ("manage.py", "check")),
        ("ZENITH_NOTIFY_THROTTLE", "5m", ("manage.py", "check")),
        ("ZENITH_NOTIFY_EMAIL", "ops", ("manage.py", "check")),
        ("ZENITH_NOTIFY_SLACK_URL", f"ftp://hooks.example.com/{PASSWORD}", ("manage.py", "check")),
        ("ZENITH_NOTIFY_WEBHOOK_URL", f"https://hooks.example.com/{PASSWORD}", ("manage.py", "check")),
    ],
)
def test_every_program_ends_with_one_line(name: str, value: str, command: tuple[str, ...], tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "zenith_site.settings", "ZENITH_DATA_DIR": str(tmp_path), name: value}
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert name in lines[0] or "ZENITH_SECRET_KEY" in lines[0]
    assert PASSWORD not in lines[0]
