"""Deployments: every invalid name, size, image and variable is refused, with its pointer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra_app.validation import Deployment, check_deployment
from zenith_site.common.errors import InvalidInputError

FINE = Deployment(
    name="reports-eu", replicas=3, image="zenith:latest", queues=("reports", "mail/eu"), concurrency=4, memory_mb=512, cpus=0.5,
    environment={"APP_REGION": "eu"}, secrets={"APP_PASSWORD": "s3cret"}, region="eu-1", labels={"disk": "ssd"},
)  # fmt: skip


def pointers(deployment: Deployment) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        check_deployment(deployment)
    return [problem.pointer for problem in refused.value.problems]


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.ZENITH_ALLOWED_IMAGES = ["zenith:latest", "registry.example.com:5000/zenith/*"]


def test_what_is_right_is_accepted() -> None:
    check_deployment(FINE)
    check_deployment(replace(FINE, image="registry.example.com:5000/zenith/worker:1.4@sha256:" + "a" * 64))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "Reports"}, "/name"),
        ({"name": "-"}, "/name"),
        ({"name": "a" * 51}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"replicas": 0}, "/replicas"),
        ({"replicas": 101}, "/replicas"),
        ({"kind": "POD"}, "/kind"),
        ({"image": "alpine"}, "/image"),
        ({"image": "zenith:latest "}, "/image"),
        ({"image": "zenith:latest --privileged"}, "/image"),
        ({"image": "registry.example.com:5000/other/worker"}, "/image"),
        ({"image": "registry.example.com:5000/zenith/../x"}, "/image"),
        ({"image": "registry.example.com:5000/zenith/a/b"}, "/image"),
        ({"image": "zenith.evil.example/latest"}, "/image"),
        ({"queues": ()}, "/queues"),
        ({"queues": ("a", "b,c")}, "/queues/1"),
        ({"queues": ("a b",)}, "/queues/0"),
        ({"queues": ("a", "a")}, "/queues/1"),
        ({"concurrency": 0}, "/concurrency"),
        ({"memory_mb": 63}, "/memory_mb"),
        ({"cpus": 0}, "/cpus"),
        ({"cpus": float("nan")}, "/cpus"),
        ({"environment": {"1A": "x"}}, "/environment/1A"),
        ({"environment": {"A=B": "x"}}, "/environment/A=B"),
        ({"environment": {"APP_A": "a\x00b"}}, "/environment/APP_A"),
        ({"environment": {"APP_A": 1}}, "/environment/APP_A"),
        ({"environment": {"APP_A": "x" * 16_385}}, "/environment/APP_A"),
        ({"environment": {"DATABASE_URL": "postgres://elsewhere/x"}}, "/environment/DATABASE_URL"),
        ({"secrets": {"REDIS_URL_FILE": "/etc/passwd"}}, "/secrets/REDIS_URL_FILE"),
        ({"secrets": {"APP_KEY": "***"}}, "/secrets/APP_KEY"),
        ({"secrets": {"APP_REGION": "x"}}, "/secrets/APP_REGION"),
        ({"environment": {f"APP_{number}": "" for number in range(101)}}, "/environment"),
        ({"restart_policy": "sometimes"}, "/restart_policy"),
        ({"region": "eu 1"}, "/region"),
        ({"labels": {"disk type": "ssd"}}, "/labels/disk type"),
        ({"labels": {"disk": 1}}, "/labels/disk"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], pointer: str) -> None:
    assert pointers(replace(FINE, **changes)) == [pointer]


def test_every_culprit_is_named_at_once() -> None:
    assert pointers(replace(FINE, name="A", cpus=0, queues=("a b",))) == ["/name", "/queues/0", "/cpus"]


def test_there_is_no_way_to_ask_for_a_mount_or_a_privilege() -> None:
    members = {name.lower() for name in Deployment.__dataclass_fields__}
    assert not {
        word for word in ("mount", "volume", "privileged", "device", "cap", "network", "user") for m in members if word in m
    }


def test_secrets_do_not_appear_in_a_log() -> None:
    assert "s3cret" not in repr(FINE)
