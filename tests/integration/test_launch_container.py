"""The image's entry point becomes the process that it is told to be; its health check finds out which one that is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings, settings

from tests.processes import free_port
from zenith_site.__main__ import expanded
from zenith_site.embedded import postgres, redis
from zenith_site.embedded.state import read_secret
from zenith_site.env import WrongSetting
from zenith_site.launch import container, healthcheck


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What the process would have become: command lines and environments."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda _, command, environment: found.append((command, environment)))
    return found


@pytest.fixture
def started_as(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Says which command line the container's first process has."""

    def say(*arguments: str) -> None:
        (tmp_path / "cmdline").write_bytes(b"".join(argument.encode() + b"\0" for argument in arguments))
        monkeypatch.setattr(healthcheck, "INIT", tmp_path / "cmdline")

    return say


@pytest.fixture
def sick_server(settings: LazySettings) -> Iterator[type[BaseHTTPRequestHandler]]:
    """A web process that answers what its class says."""

    class Answers(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(type(self).status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        settings.ZENITH_PORT = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Answers
        server.shutdown()


def test_without_a_command_it_is_the_web_process(became: list[tuple[list[str], dict[str, str]]]) -> None:
    container.main([])

    assert "zenith_site.asgi:application" in became[0][0]


def test_options_follow_those_of_the_role_and_so_count_for_more(became: list[tuple[list[str], dict[str, str]]]) -> None:
    container.main(["worker", "--queues", "reports"])

    command, environment = became[0]
    assert command[-2:] == ["--queues", "reports"]
    assert "celery" in command
    assert environment["REMAP_SIGTERM"] == "SIGQUIT"
    assert environment["ZENITH_SECRET_KEY"] not in ("", settings.SECRET_KEY)


def test_any_other_program_runs_as_it_stands(became: list[tuple[list[str], dict[str, str]]]) -> None:
    container.main(["python", "manage.py", "tasks"])

    assert became[0][0] == ["python", "manage.py", "tasks"]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["up", "--no-agent"], ["--no-agent"]),
        (["watch", "redis://shop/0", "--no-agent"], ["--watch", "redis://shop/0", "--no-agent"]),
    ],
)
def test_everything_in_one_container_gets_a_key_that_stays(
    arguments: list[str],
    options: list[str],
    became: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("ZENITH_SECRET_KEY", "ZENITH_SECRET_KEY_FILE", "ZENITH_HTTPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZENITH_DATA_DIR", str(tmp_path))
    container.main(arguments)
    key = read_secret(tmp_path, "secret_key")
    container.main(arguments)

    command, environment = became[1]
    assert command[1:] == ["-m", "zenith_site", "up", *options]
    assert environment["ZENITH_HTTPS"] == "false"
    assert len(key) > 32
    assert read_secret(tmp_path, "secret_key") == key


def test_watching_under_a_name_is_not_starting_everything() -> None:
    assert expanded(["watch", "shop", "redis://shop/0"]) == ["watch", "shop", "redis://shop/0"]
    assert expanded(["watch"]) == ["watch"]
    assert expanded(["watch", "shop=redis://shop/0"]) == ["up", "--watch", "shop=redis://shop/0"]


def test_everything_in_one_container_keeps_what_is_set(
    became: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"ZENITH_SECRET_KEY": "k" * 40, "ZENITH_HTTPS": "true", "ZENITH_DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    container.main(["up"])

    assert became[0][1]["ZENITH_HTTPS"] == "true"
    assert read_secret(tmp_path, "secret_key") == ""


def test_without_servers_it_says_in_one_sentence_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL", "REDIS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(postgres, "is_installed", lambda: False)
    monkeypatch.setattr(redis, "is_installed", lambda: False)
    with pytest.raises(SystemExit) as refused:
        container.main(["watch", "redis://:secret@shop/0"])
    assert "no PostgreSQL and no Redis, and DATABASE_URL and REDIS_URL are not set" in str(refused.value)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("DATABASE_URL_FILE", "/run/secrets/database_url")
    assert "no Redis, and REDIS_URL is not set" in container.missing_servers()
    monkeypatch.setattr(redis, "is_installed", lambda: True)
    assert container.missing_servers() == ""


def test_flower_has_its_password_in_the_environment_only(
    became: list[tuple[list[str], dict[str, str]]], settings: LazySettings
) -> None:
    settings.ZENITH_FLOWER_PASSWORD = "tulips"
    container.main(["flower"])

    command, environment = became[0]
    assert "tulips" not in " ".join(command)
    assert environment["FLOWER_BASIC_AUTH"] == "admin:tulips"


def test_flower_without_a_password_does_not_start(settings: LazySettings) -> None:
    settings.ZENITH_FLOWER_PASSWORD = ""

    with pytest.raises(WrongSetting, match="ZENITH_FLOWER_PASSWORD is not set"):
        container.main(["flower"])


@pytest.mark.parametrize(
    "command",
    [
        ("python", "-m", "daphne", "-p", "8000"),
        ("/sbin/docker-init", "--", "python", "web"),
        ("/sbin/docker-init", "--", "python", "watch", "redis://shop/0"),
        ("python", "-m", "zenith_site.launch", "{}"),
    ],
)
def test_a_web_process_is_well_while_it_answers(
    command: tuple[str, ...], started_as: Any, sick_server: type[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    started_as(*command)

    assert healthcheck.main() == 0
    sick_server.status = 503
    assert healthcheck.main() == 0
    sick_server.status = 500
    assert healthcheck.main() == 1
    assert "answers 500" in capsys.readouterr().err


def test_a_web_process_that_does_not_answer_is_sick(
    started_as: Any, settings: LazySettings, capsys: pytest.CaptureFixture[str]
) -> None:
    started_as("python", "-m", "daphne")
    settings.ZENITH_PORT = free_port()

    assert healthcheck.main() == 1
    assert "does not answer" in capsys.readouterr().err


def test_nobody_knows_more_of_a_program_that_is_no_role_than_that_it_runs(started_as: Any) -> None:
    started_as("python", "manage.py", "tasks")

    assert healthcheck.main() == 0


def test_an_engine_is_well_once_its_recorder_has_given_a_sign_of_life(started_as: Any) -> None:
    from zenith_worker.wire import stream

    stream.client().flushdb()
    started_as("python", "manage.py", "run_engine")
    assert healthcheck.main() == 1

    stream.note_recorder(os.uname().nodename)

    assert healthcheck.main() == 0
    started_as("python", "manage.py", "run_engine", "--only", "relay")
    assert healthcheck.main() == 0


def test_an_agent_is_well_while_its_host_is_seen(started_as: Any, settings: LazySettings, transactional_db: None) -> None:
    from django.utils import timezone

    from infra_app.models import Host

    started_as("python", "manage.py", "run_agent")
    settings.ZENITH_AGENT_HOST = "here"
    assert healthcheck.main() == 1

    Host.objects.create(name="here", address="unix:///var/run/docker.sock", seen_at=timezone.now())

    assert healthcheck.main() == 0
