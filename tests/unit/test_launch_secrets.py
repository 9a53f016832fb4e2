"""What docker-compose.yml's services are told: made once, kept, and replaced by what the operator says."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from zenith_site.launch.secrets import POSTGRES, REDIS, ZENITH, write_all


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the volumes in it."""
    for place in ("data", POSTGRES, REDIS):
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
    made_up = [first[name] for name in ("secrets/postgres/password", "secrets/redis/password", "data/secrets/secret_key")]
    assert len(set(made_up)) == 3
    assert min(map(len, made_up)) >= 32


def test_addresses_and_servers_have_the_same_passwords(root: Path) -> None:
    write_all(root, {"POSTGRES_USER": "me", "POSTGRES_DB": "tasks", "POSTGRES_PASSWORD": "a/b:c@d é"})
    database = urlsplit((root / ZENITH / "database_url").read_text().strip())
    broker = urlsplit((root / ZENITH / "redis_url").read_text().strip())

    assert (database.username, unquote(database.password or ""), database.path) == ("me", "a/b:c@d é", "/tasks")
    assert contents(root)["secrets/postgres/password"] == "a/b:c@d é"
    assert contents(root)["secrets/redis/redis.conf"] == f"requirepass {broker.password}"
    assert contents(root)["secrets/redis/password"] == broker.password


def test_what_the_operator_says_counts_from_then_on(root: Path) -> None:
    write_all(root, {})
    write_all(root, {"ZENITH_SECRET_KEY": "k" * 32, "ZENITH_FLOWER_PASSWORD": "flowers"})
    write_all(root, {"ZENITH_SECRET_KEY": "", "ZENITH_FLOWER_PASSWORD": ""})

    assert contents(root)["data/secrets/secret_key"] == "k" * 32
    assert contents(root)["data/secrets/flower_password"] == "flowers"


def test_only_the_group_reads_what_zenith_alone_may_know(root: Path) -> None:
    write_all(root, {})

    modes = {path.stat().st_mode & 0o777 for path in (root / ZENITH).iterdir()}
    assert modes == {0o440}
    assert (root / POSTGRES / "password").stat().st_mode & 0o777 == 0o444
