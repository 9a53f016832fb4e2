"""`python -m zenith_site.launch.secrets`: what docker-compose.yml's services must know, made once before any of them starts.

Each secret is what the environment says, else what an earlier start kept, else made up. Each process has a directory, which is a
volume that nobody else is given, with what it reads and no more (GIVEN); PostgreSQL and Redis have one each, with that server's
password only. The servers' processes have users of their own, so whoever is given those two may read them, as with Docker's own
secrets.

Nothing here reads Django's settings: these need what is made here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from zenith_site.embedded import redis_users
from zenith_site.embedded.state import write_private

#: Readable by the group of the image's user, and by everyone who has the volume.
GROUP, ALL = 0o440, 0o444
#: Below which all volumes are mounted.
ROOT: Final = Path("/")
POSTGRES, REDIS = Path("secrets/postgres"), Path("secrets/redis")
#: What PostgreSQL's administrator gets in with.
ADMIN: Final = "postgres_admin_password"
#: Where each process finds its own; `migrate` writes the first admin's password and API key beside them.
PLACES: Final = {
    "web": Path("secrets/web"), "worker": Path("secrets/worker"), "engine": Path("secrets/engine"),
    "agent": Path("secrets/agent"), "flower": Path("secrets/flower"), "migrate": Path("data/secrets"),
    "roles": Path("secrets/admin"),
}  # fmt: skip
#: What is there: files, and the secret in each. The site's key is web's alone: sessions could be forged with it. The others,
#: which sign nothing of the site, have another.
GIVEN: Final[dict[str, dict[str, str]]] = {
    "web": {"database_url": "database_url", "redis_url": "redis_url", "secret_key": "secret_key"},
    "worker": {"database_url": "database_url", "redis_url": "node_redis_url", "secret_key": "other_secret_key"},
    "engine": {"database_url": "database_url", "redis_url": "redis_url", "secret_key": "other_secret_key"},
    "agent": {
        "database_url": "database_url",
        "redis_url": "redis_url",
        "secret_key": "other_secret_key",
        "node_redis_url": "node_redis_url",
    },
    "flower": {"redis_url": "redis_url", "secret_key": "other_secret_key", "flower_password": "flower_password"},
    "migrate": {"database_url": "database_url", "redis_url": "redis_url", "secret_key": "other_secret_key"},
    "roles": {"database_url": "database_url", ADMIN: ADMIN},
}


def write_all(root: Path, given: Mapping[str, str]) -> None:
    """Write every secret below the root; a file whose content is right already is left alone.

    Arguments:
        given: the environment, with POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, ZENITH_SECRET_KEY, ZENITH_FLOWER_PASSWORD.
    """
    postgres, redis = root / POSTGRES, root / REDIS
    place = {process: root / path for process, path in PLACES.items()}
    place["migrate"].mkdir(mode=0o750, exist_ok=True)
    user, database = given.get("POSTGRES_USER") or "zenith", given.get("POSTGRES_DB") or "zenith"
    password = _secret(postgres / "password", given.get("POSTGRES_PASSWORD"), ALL)
    broker = _secret(redis / "password", None, ALL)
    worker_broker = _secret(redis / "worker_password", None, ALL)
    _write(redis / "server.conf", f"requirepass {broker}\n{redis_users.in_config(worker_broker)}", ALL)
    before = _of_versions_before(place)
    values = {
        "secret_key": _secret(place["web"] / "secret_key", given.get("ZENITH_SECRET_KEY") or before.get("secret_key"), GROUP),
        ADMIN: _secret(place["roles"] / ADMIN, None, GROUP),
        "other_secret_key": _secret(place["worker"] / "secret_key", None, GROUP),
        "flower_password": _secret(
            place["flower"] / "flower_password", given.get("ZENITH_FLOWER_PASSWORD") or before.get("flower_password"), GROUP
        ),
        "database_url": f"postgres://{_quoted(user)}:{_quoted(password)}@db:5432/{_quoted(database)}",
        "redis_url": f"redis://:{_quoted(broker)}@redis:6379/0",
        "node_redis_url": f"redis://{redis_users.WORKER}:{_quoted(worker_broker)}@redis:6379/0",
    }
    for process, files in GIVEN.items():
        for file, secret in files.items():
            _write(place[process] / file, values[secret], GROUP)
    (place["migrate"] / "flower_password").unlink(missing_ok=True)


def _of_versions_before(place: Mapping[str, Path]) -> dict[str, str]:
    """Return web's and Flower's secrets where they have none yet: versions before kept all in what is `migrate`'s place now."""
    kept = {}
    for process, name in (("web", "secret_key"), ("flower", "flower_password")):
        path = place["migrate"] / name
        if path.exists() and not (place[process] / name).exists():
            kept[name] = path.read_text(encoding="utf-8").strip()
    return kept


def _secret(path: Path, given: str | None, mode: int) -> str:
    """Keep a secret in a file and return it."""
    kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    value = given or kept or secrets.token_urlsafe(32)
    _write(path, value, mode)
    return value


def _write(path: Path, value: str, mode: int) -> None:
    content = f"{value}\n"
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        write_private(path, content, mode=mode)


def _quoted(text: str) -> str:
    return quote(text, safe="")


if __name__ == "__main__":
    write_all(ROOT, os.environ)
