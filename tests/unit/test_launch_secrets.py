"""What docker-compose.yml's services are told: made once, kept, and replaced by what the operator says."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from zenith_site.embedded.redis_users import RIGHTS, WORKER
from zenith_site.launch.secrets import GIVEN, PLACES, POSTGRES, REDIS, write_all


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the volumes in it."""
    for place in (POSTGRES, REDIS, *PLACES.values()):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    """Return every file by its path."""
    return {str(path.relative_to(root)): path.read_text().strip() for path in sorted(root.rglob("*")) if path.is_file()}


def test_everything_is_made_up_once_and_kept(root: Path) -> None:
    write_all(root, {})
    first = contents(root)
    write_all(root, {})

    assert contents(root) == first
    made_up = [first[name] for name in ("secrets/postgres/password", "secrets/redis/password", "secrets/web/secret_key")]
    assert len(set(made_up)) == 3
    assert min(map(len, made_up)) >= 32


def test_addresses_and_servers_have_the_same_passwords(root: Path) -> None:
    write_all(root, {"POSTGRES_USER": "me", "POSTGRES_DB": "tasks", "POSTGRES_PASSWORD": "a/b:c@d é"})
    database = urlsplit((root / PLACES["web"] / "database_url").read_text().strip())
    broker = urlsplit((root / PLACES["web"] / "redis_url").read_text().strip())

    assert (database.username, unquote(database.password or ""), database.path) == ("me", "a/b:c@d é", "/tasks")
    assert contents(root)["secrets/postgres/password"] == "a/b:c@d é"
    workers = urlsplit((root / PLACES["worker"] / "redis_url").read_text().strip())
    assert workers.username == WORKER
    assert contents(root)["secrets/redis/server.conf"].splitlines() == [
        f"requirepass {broker.password}", f"user {WORKER} on >{workers.password} {RIGHTS}",
    ]  # fmt: skip
    assert (root / PLACES["agent"] / "node_redis_url").read_text().strip() == workers.geturl()
    assert contents(root)["secrets/redis/password"] == broker.password


def test_what_the_operator_says_counts_from_then_on(root: Path) -> None:
    write_all(root, {})
    write_all(root, {"ZENITH_SECRET_KEY": "k" * 32, "ZENITH_FLOWER_PASSWORD": "flowers"})
    write_all(root, {"ZENITH_SECRET_KEY": "", "ZENITH_FLOWER_PASSWORD": ""})

    assert contents(root)["secrets/web/secret_key"] == "k" * 32
    assert contents(root)["secrets/flower/flower_password"] == "flowers"


def test_only_the_group_reads_what_zenith_alone_may_know(root: Path) -> None:
    write_all(root, {})

    modes = {path.stat().st_mode & 0o777 for place in PLACES.values() for path in (root / place).iterdir()}
    assert modes == {0o440}
    assert (root / POSTGRES / "password").stat().st_mode & 0o777 == 0o444


def test_each_process_finds_what_it_reads_and_no_more(root: Path) -> None:
    write_all(root, {})

    assert {process: {path.name for path in (root / place).iterdir()} for process, place in PLACES.items()} == {
        process: set(files) for process, files in GIVEN.items()
    }


def test_the_sites_key_is_webs_alone(root: Path) -> None:
    write_all(root, {"ZENITH_SECRET_KEY": "k" * 32})

    keys = {
        process: (root / PLACES[process] / "secret_key").read_text().strip()
        for process in GIVEN
        if "secret_key" in GIVEN[process]
    }
    assert [process for process, key in keys.items() if key == "k" * 32] == ["web"]
    assert len(set(keys.values())) == 2
    assert min(map(len, keys.values())) >= 32


def test_what_a_version_before_kept_in_one_place_goes_to_who_reads_it(root: Path) -> None:
    before = root / PLACES["migrate"]
    for name in ("secret_key", "flower_password", "api_key", "admin_password"):
        (before / name).write_text(f"{name} of before\n")
    for _ in range(2):
        write_all(root, {})

        assert contents(root)["secrets/web/secret_key"] == "secret_key of before"
        assert contents(root)["secrets/flower/flower_password"] == "flower_password of before"
        assert {path.name for path in before.iterdir()} == {*GIVEN["migrate"], "api_key", "admin_password"}
        assert "secret_key of before" not in (before / "secret_key").read_text()
