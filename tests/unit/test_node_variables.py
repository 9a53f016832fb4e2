"""Which variables a node may get: those that the operator allows, and none that decides what code runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from infra_app.agent.container_spec import command, environment, secret_files
from infra_app.masked_environment import left_out
from infra_app.models import NodeGroup
from infra_app.validation import Deployment, check_deployment
from infra_app.variables import accepted, why_refused
from tests.processes import REPOSITORY
from zenith_site.common.errors import InvalidInputError

#: Variables that load code, or point to other servers, certificates or files.
DANGEROUS = [
    "ZENITH_TASK_MODULES", "ZENITH_CELERY_CONFIG", "ZENITH_SECRET_KEY", "ZENITH_SECRET_KEY_FILE", "ZENITH_DATA_DIR", "ZENITH_ENV",
    "DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL", "REDIS_URL_FILE", "PORT", "EMAIL_HOST_PASSWORD", "DJANGO_SETTINGS_MODULE",
    "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_CUSTOM_WORKER_POOL", "CELERY_LOADER", "C_FORCE_ROOT", "REMAP_SIGTERM",
    "FLOWER_BASIC_AUTH", "OTEL_EXPORTER_OTLP_ENDPOINT", "PYTHONWARNINGS", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME",
    "PYTHONBREAKPOINT", "_PYTHON_SYSCONFIGDATA_NAME", "PIP_INDEX_URL", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH",
    "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "PATH", "HOME", "BASH_ENV", "ENV", "IFS", "TMPDIR", "PGHOST", "PGOPTIONS",
    "PGSSLROOTCERT", "PGSERVICEFILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "OPENSSL_CONF", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "GIT_SSH_COMMAND", "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS", "PERL5OPT", "BROWSER",
]  # fmt: skip
HARMLESS = ["APP_REGION", "APP_", "APP_PATH", "APP_PYTHON", "TZ", "LANG", "LC_ALL"]


def group(**values: Any) -> NodeGroup:
    return NodeGroup(name="one", image="zenith:latest", queues=["a"], **values)


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.ZENITH_NODE_REDIS_URL = "redis://:password@10.0.0.1:6379/0"
    settings.ZENITH_TASK_MODULES = ["shop.tasks"]


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize("spelling", [str, str.lower, str.title])
def test_what_decides_what_runs_is_refused_whatever_is_allowed(name: str, spelling: Any, settings: Any) -> None:
    settings.ZENITH_NODE_ENVIRONMENT = ["*"]
    assert spelling(name) in why_refused(spelling(name))
    assert "ZENITH_NODE_ENVIRONMENT" in why_refused(spelling(name))


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_allowed_unless_the_operator_says_otherwise(name: str) -> None:
    assert why_refused(name) == ""


@pytest.mark.parametrize("name", ["SHOP_REGION", "app_region", "XAPP_REGION", "TZ2", "AWS_SECRET_ACCESS_KEY", "A"])
def test_every_other_name_takes_the_operators_word(name: str, settings: Any) -> None:
    assert why_refused(name) == f"{name} is not allowed; ZENITH_NODE_ENVIRONMENT allows: APP_*, LANG, LC_*, TZ"
    settings.ZENITH_NODE_ENVIRONMENT = ["SHOP_*", name]
    assert why_refused(name) == ""


def test_whatever_zenith_reads_is_refused(settings: Any) -> None:
    settings.ZENITH_NODE_ENVIRONMENT = ["*"]
    documented = re.findall(r"^#(?: e\.g\. )?([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE)
    read = re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", (REPOSITORY / "zenith_site" / "settings.py").read_text())
    assert len(documented) > 50
    assert len(read) > 50
    assert accepted(dict.fromkeys([*documented, *read], "x")) == {}


@pytest.mark.parametrize("member", ["environment", "secrets"])
def test_a_deployment_names_the_variable_and_the_setting(member: str) -> None:
    asked = Deployment(name="one", image="zenith:latest", **{member: {"LD_PRELOAD": "/x.so", "SHOP": "eu", "APP_SHOP": "eu"}})
    with pytest.raises(InvalidInputError) as refused:
        check_deployment(asked)
    assert [problem.pointer for problem in refused.value.problems] == [f"/{member}/LD_PRELOAD", f"/{member}/SHOP"]
    assert all("ZENITH_NODE_ENVIRONMENT" in problem.detail for problem in refused.value.problems)


def test_what_is_stored_from_before_does_not_reach_a_container() -> None:
    stored = group(
        environment={"ZENITH_TASK_MODULES": "antigravity", "LD_PRELOAD": "x", "SHOP": "eu", "APP_SHOP": "eu"},
        secrets={"SSL_CERT": "x", "KEY": "x", "APP_KEY": "s3cret"},
    )
    files = secret_files(stored)
    made = environment(stored, files, "/run/zenith")
    assert files.keys() == {"REDIS_URL", "ZENITH_SECRET_KEY", "APP_KEY"}
    assert made["ZENITH_TASK_MODULES"] == "shop.tasks"
    assert made["APP_SHOP"] == "eu"
    assert not {"LD_PRELOAD", "SHOP", "SSL_CERT_FILE", "KEY_FILE"} & made.keys()
    assert [reason.split()[0] for reason in left_out(stored)] == ["KEY", "LD_PRELOAD", "SHOP", "SSL_CERT", "ZENITH_TASK_MODULES"]


def test_a_node_has_a_secret_key_of_its_own(settings: Any) -> None:
    key = secret_files(group())["ZENITH_SECRET_KEY"]
    assert len(key) >= 32
    assert key != settings.SECRET_KEY
    assert secret_files(group())["ZENITH_SECRET_KEY"] == key


def test_zeniths_own_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    own = environment(group(), {"REDIS_URL": ""}, "/run/zenith")
    monkeypatch.setattr("infra_app.agent.container_spec.accepted", dict)
    assert environment(group(environment=dict.fromkeys(own, "theirs")), {"REDIS_URL": ""}, "/run/zenith") == own


def test_a_group_can_be_changed_though_it_has_variables_from_before() -> None:
    before = Deployment.of(group(environment={"LD_PRELOAD": "x", "APP_A": "b"}, secrets={"KEY": "x"}))
    check_deployment(replace(before, concurrency=8))
    assert (before.environment, before.secrets) == ({"APP_A": "b"}, {})


@pytest.mark.parametrize("queue", ["--pool=eventlet", "-P", "--app=evil", "--queues"])
def test_a_queue_that_is_called_like_an_option_is_no_word_of_its_own(queue: str) -> None:
    stored = NodeGroup(name="one", image="zenith:latest", queues=[queue, "mail"], concurrency=3)
    assert command(stored) == ("worker", f"--queues={queue},mail", "--concurrency=3")
