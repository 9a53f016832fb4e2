"""Each process gets the secrets that it reads, and no others: docs/deploy.md, Compose, Kubernetes and Render agree."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml
from django.conf import settings

from tests.processes import REPOSITORY
from tests.unit.test_deploy import compose, pods
from zenith_site.launch.programs import NOT_FOR_WORKERS, worker
from zenith_site.launch.secrets import GIVEN, PLACES

DEPLOY: Final = (REPOSITORY / "docs" / "deploy.md").read_text()
#: What a manifest of Kubernetes or Render gives by itself; an operator adds the rest.
BASIC: Final = {"DATABASE_URL", "REDIS_URL", "ZENITH_SECRET_KEY", "ZENITH_ADMIN_PASSWORD", "ZENITH_API_KEY"}
#: What stands where the process gets a value of its own.
OTHER: Final = "other"


def table() -> dict[str, dict[str, str]]:
    """Return what the table says of each process: its secrets, and what stands in the cell."""
    rows = re.search(r"^\| secret \|.*\n\|[-|]+\n((?:\|.*\n)+)", DEPLOY, re.MULTILINE)
    assert rows
    head = rows[0].splitlines()[0]
    processes = [cell.strip() for cell in head.strip("|").split("|")][1:]
    found: dict[str, dict[str, str]] = {process: {} for process in processes}
    for line in rows[1].splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found_in = {process: cell for process, cell in zip(processes, cells, strict=True) if cell}
        for process, cell in found_in.items():
            found[process][name.strip("`")] = cell
    return found


def names() -> set[str]:
    """Return the secrets that the table has a row for."""
    return set(re.findall(r"^\| `([A-Z_]+)` \|", DEPLOY, re.MULTILINE))


def given_by_compose(service: dict[str, Any]) -> set[str]:
    """Return which secrets a service gets: from its own variables, or from .env where these do not empty them."""
    environment, unsaid = service["environment"], "of .env" if "env_file" in service else ""
    return {name for name in names() if any(environment.get(each, unsaid) for each in (name, f"{name}_FILE"))}


def test_the_table_knows_every_secret_and_every_process() -> None:
    settings = (REPOSITORY / "zenith_site" / "settings.py").read_text()
    # Each of these is read from a file as well.
    read = set(re.findall(r"env\.(?:secret|webhook|url)\(\s*\"([A-Z_]+)\"", settings))
    assert names() == read - {"ZENITH_PUBLIC_URL"} | {"POSTGRES_PASSWORD", "POSTGRES_ADMIN_PASSWORD"}
    assert table().keys() == GIVEN.keys()


@pytest.mark.parametrize("process", sorted(GIVEN))
def test_compose_gives_each_process_what_the_table_says(process: str) -> None:
    service = compose()[process]
    assert ("env_file" in service) == (process != "roles")
    assert given_by_compose(service) == table()[process].keys()


@pytest.mark.parametrize("process", sorted(GIVEN))
def test_a_service_mounts_its_own_secrets_and_nobody_elses(process: str) -> None:
    mounted = [volume.split(":") for volume in compose()[process].get("volumes", []) if "docker.sock" not in volume]
    (volume, place, *_), *others = mounted
    assert not others
    written = {target: source for source, target in (each.split(":") for each in compose()["secrets"]["volumes"])}
    assert (written.get(f"/{PLACES[process]}") or written[f"/{PLACES[process].parent}"]) == volume
    files = {name: path for name, path in compose()[process]["environment"].items() if name.endswith("_FILE") and path}
    own = f"{place}/secrets" if process == "migrate" else place
    assert set(files.values()) == {f"{own}/{file}" for file in GIVEN[process]}


def test_no_two_services_share_a_volume_of_secrets() -> None:
    holders: dict[str, list[str]] = {}
    for name, service in compose().items():
        for volume in service.get("volumes", []):
            holders.setdefault(volume.split(":")[0], []).append(name)
    assert {volume for volume, services in holders.items() if len(services) > 2} == set()
    shared = {volume: services for volume, services in holders.items() if len(services) == 2}
    assert all("secrets" in services for services in shared.values()), shared


def test_the_sites_secret_key_is_webs_alone() -> None:
    assert [process for process, secrets in table().items() if secrets.get("ZENITH_SECRET_KEY") == "✓"] == ["web"]
    for process, files in GIVEN.items():
        others = {file for file, secret in files.items() if secret != file}
        assert others == {name.lower().removeprefix("zenith_") for name, cell in table()[process].items() if cell == OTHER}


def test_a_worker_on_this_machine_gets_no_more_than_elsewhere() -> None:
    assert set(NOT_FOR_WORKERS) == names() - table()["worker"].keys()
    told = worker(1, "default").environment
    assert told["ZENITH_SECRET_KEY"] not in ("", settings.SECRET_KEY)
    assert told["ZENITH_SECRET_KEY_FILE"] == ""
    assert {told[f"{name}{suffix}"] for name in NOT_FOR_WORKERS for suffix in ("", "_FILE")} == {""}


def test_flower_and_the_servers_get_nothing_from_the_environment_file() -> None:
    for name in ("secrets", "db", "redis"):
        assert "env_file" not in compose()[name]
        assert (
            not names() - {"POSTGRES_PASSWORD", "ZENITH_SECRET_KEY", "ZENITH_FLOWER_PASSWORD"}
            & compose()[name].get("environment", {}).keys()
        )


@pytest.mark.parametrize("process", ["web", "worker", "engine", "migrate"])
def test_a_pod_mounts_the_keys_that_the_table_says(process: str) -> None:
    pod = pods()[process]
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    kustomization = yaml.safe_load((REPOSITORY / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    told = dict(line.split("=", 1) for line in kustomization["configMapGenerator"][0]["literals"])
    told |= {variable["name"]: variable["value"] for variable in pod["containers"][0].get("env", [])}
    variables = {path.rpartition("/")[2]: name.removesuffix("_FILE") for name, path in told.items() if name.endswith("_FILE")}
    given = {variables[item["path"]]: OTHER if item["path"] != item["key"] else "✓" for item in secret["items"]}
    assert given == {name: cell for name, cell in table()[process].items() if name in BASIC}
    assert all("valueFrom" not in variable for container in pod["containers"] for variable in container.get("env", []))
    assert all(source.keys() == {"configMapRef"} for container in pod["containers"] for source in container["envFrom"])


def test_every_key_of_the_secret_of_kubernetes_is_made() -> None:
    mounted = {
        item["key"]
        for pod in pods().values()
        for volume in pod["volumes"]
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    assert set(re.findall(r"--from-literal=([a-z_]+)=", DEPLOY)) == mounted


def test_render_gives_each_process_what_the_table_says() -> None:
    blueprint = yaml.safe_load((REPOSITORY / "render.yaml").read_text())
    groups = {group["name"]: {variable["key"] for variable in group["envVars"]} for group in blueprint["envVarGroups"]}
    services = {service["name"].removeprefix("zenith-"): service for service in blueprint["services"]}
    grouped = {}
    for process in ("web", "worker", "engine"):
        service = services[process]
        (group,) = [variable["fromGroup"] for variable in service["envVars"] if "fromGroup" in variable]
        grouped[process] = group
        given = groups[group] | {variable["key"] for variable in service["envVars"] if "key" in variable}
        # The migration is a command before web's, of the same service.
        dropped = set(" ".join(re.findall(r"unset ([A-Z_ ]+);", service["dockerCommand"])).split())
        assert (given - dropped) & names() == table()[process].keys() & BASIC, process
        if process == "web":
            assert given & names() == (table()["web"].keys() | table()["migrate"].keys()) & BASIC
    assert grouped["web"] not in (grouped["worker"], grouped["engine"])
