"""What tells others how to run Zenith: manifests, blueprints and workflows keep to their schemas, and to this project's rules."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.processes import REPOSITORY
from zenith_site.launch.container import ROLES
from zenith_site.version import VERSION

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
#: The oldest release of Kubernetes that still gets fixes here and there, and the newest with a schema at hand.
RELEASES = ("1.30", "1.37")
NOT_APPLIED = {"kustomization.yaml", "prometheus-adapter.yaml"}
#: Steps that end.
ONE_SHOTS = {"secrets", "roles", "migrate"}


def manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every object of every manifest."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name not in NOT_APPLIED:
            yield from ((path, document) for document in yaml.safe_load_all(path.read_text()))


def objects(kind: str) -> dict[str, Any]:
    """Return the objects of a kind by name."""
    return {document["metadata"]["name"]: document for _, document in manifests() if document["kind"] == kind}


def pods() -> dict[str, Any]:
    """Return what is to be known of every pod, by the name of what makes it."""
    return {name: item["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for name, item in objects(kind).items()}


def test_every_manifest_keeps_to_the_schema_of_kubernetes() -> None:
    for path, document in manifests():
        for release in RELEASES:
            kubernetes_validate.validate(document, release, strict=True)
        assert document["kind"], path


def test_kustomize_applies_every_manifest_with_this_version() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())

    assert set(kustomization["resources"]) == {path.name for path, _ in manifests()}
    assert [image["newTag"] for image in kustomization["images"]] == [VERSION]


def test_every_pod_runs_without_root_and_cannot_write() -> None:
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], name
            assert not security["allowPrivilegeEscalation"], name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"], name
            assert container["resources"]["limits"]["memory"], name


def test_every_deployment_is_probed_and_survives_a_drained_machine() -> None:
    deployments = objects("Deployment")

    assert deployments.keys() == {"web", "worker", "engine"}
    assert objects("PodDisruptionBudget").keys() == deployments.keys()
    for name in deployments:
        assert pods()[name]["containers"][0]["args"] == [name]
        assert "livenessProbe" in pods()[name]["containers"][0]
    assert pods()["web"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_workers_are_scaled_by_how_long_tasks_wait() -> None:
    (metric,) = objects("HorizontalPodAutoscaler")["worker"]["spec"]["metrics"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["external"]

    assert metric["external"]["metric"]["name"] == rule["seriesQuery"] == "zenith_queue_oldest_age_seconds"


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("compose-spec", "docker-compose.yml"),
    ],
)
def test_files_of_others_keep_to_their_schemas(schema: str, paths: str) -> None:
    found = [str(path) for path in REPOSITORY.glob(paths)]
    tool = str(Path(sys.executable).with_name("check-jsonschema"))
    done = subprocess.run([tool, "--builtin-schema", f"vendor.{schema}", *found], capture_output=True, text=True, check=False)

    assert found
    assert done.returncode == 0, done.stdout + done.stderr


def compose() -> dict[str, Any]:
    """Return the services of docker-compose.yml."""
    services: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    return services


def test_compose_bounds_every_service_and_can_scale_it() -> None:
    for name, service in compose().items():
        assert "container_name" not in service, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped"), name
        if name not in ONE_SHOTS:
            assert service["mem_limit"], name
            assert service["pids_limit"], name
    commands = {service["command"][0] for name, service in compose().items() if name not in {"db", "redis"}}
    assert commands == ROLES.keys()


def test_compose_waits_for_health_before_it_starts_what_needs_it() -> None:
    for name, service in compose().items():
        waits = {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        assert set(waits.values()) <= {"service_healthy", "service_completed_successfully"}, name
        assert all((waits[needed] == "service_completed_successfully") == (needed in ONE_SHOTS) for needed in waits), name
        assert name == "secrets" or waits, name


def test_compose_knows_no_password() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()

    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    assert {name: value for name, value in defaults.items() if value and re.search("PASSWORD|KEY|SECRET|TOKEN", name)} == {}
    example = (REPOSITORY / ".env.example").read_text()
    assert {name for name in defaults if name not in example} == set()


def test_render_runs_every_process_with_what_it_needs() -> None:
    blueprint = yaml.safe_load((REPOSITORY / "render.yaml").read_text())
    services = {service["name"]: service for service in blueprint["services"]}

    assert services["zenith-redis"]["maxmemoryPolicy"] == "noeviction"
    for name in ("web", "worker", "engine"):
        service = services[f"zenith-{name}"]
        words = shlex.split(service["dockerCommand"].replace("sh -c ", "").strip("'"))
        assert words[-2:] == ["zenith_site.launch.container", name]
        assert service["type"] == ("web" if name == "web" else "worker")
        given = {variable.get("key", variable.get("fromGroup")): variable for variable in service["envVars"]}
        group = "zenith" if name == "web" else "zenith-others"
        assert given.keys() == {group, "REDIS_URL"} | ({"DATABASE_URL"} if name != "worker" else set())
        if name != "worker":
            assert given["DATABASE_URL"]["fromDatabase"]["name"] in {database["name"] for database in blueprint["databases"]}
        assert given["REDIS_URL"]["fromService"]["name"] in services
    assert {group["name"] for group in blueprint["envVarGroups"]} == {"zenith", "zenith-others"}
