"""`python -m zenith_site.launch.secrets`: creates the secrets of docker-compose.yml's services before any of them starts.

A secret comes from the environment, else from an earlier start, else it is generated. Each process has a directory, a volume that
no other process mounts, with only the secrets that it reads (GIVEN). PostgreSQL and Redis have one each, with only that server's
password. These servers run as users of their own, so every user in a container with those two volumes may read them, as with
Docker's own secrets.

Nothing here reads Django's settings, because they need these secrets.
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

#: File modes: readable by the group of the image's user, and by every user with the volume.
GROUP, ALL = 0o440, 0o444
#: The directory below which all volumes are mounted.
ROOT: Final = Path("/")
POSTGRES, REDIS = Path("secrets/postgres"), Path("secrets/redis")
#: The name of the PostgreSQL administrator's password.
ADMIN: Final = "postgres_admin_password"
#: The directory of each process; `migrate` also writes the first admin's password and API key there.
PLACES: Final = {
    "web": Path("secrets/web"), "worker": Path("secrets/worker"), "engine": Path("secrets/engine"),
    "agent": Path("secrets/agent"), "flower": Path("secrets/flower"), "migrate": Path("data/secrets"),
    "roles": Path("secrets/admin"),
}  # fmt: skip
#: The files of each process, and the secret in each. Only web has the site's key, with which sessions could be forged. The
#: others, which sign nothing for the site, have another.
GIVEN: Final[dict[str, dict[str, str]]] = {
    "web": {"database_url": "database_url", "redis_url": "redis_url", "secret_key": "secret_key"},
    "worker": {"redis_url": "node_redis_url", "secret_key": "other_secret_key"},
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


def write_all(root: Path, environment: Mapping[str, str]) -> None:
    """Write every secret below the root; a file that already has the right content stays as it is.

    Arguments:
        root: the directory below which all volumes are mounted.
        environment: with POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, ZENITH_SECRET_KEY, ZENITH_FLOWER_PASSWORD.
    """
    postgres, redis = root / POSTGRES, root / REDIS
    place = {process: root / path for process, path in PLACES.items()}
    place["migrate"].mkdir(mode=0o750, exist_ok=True)
    user, database = environment.get("POSTGRES_USER") or "zenith", environment.get("POSTGRES_DB") or "zenith"
    password = _secret(postgres / "password", environment.get("POSTGRES_PASSWORD"), ALL)
    broker = _secret(redis / "password", None, ALL)
    worker_broker = _secret(redis / "worker_password", None, ALL)
    _write(redis / "server.conf", f"requirepass {broker}\n{redis_users.in_config(worker_broker)}", ALL)
    earlier = _from_earlier_versions(place)
    values = {
        "secret_key": _secret(
            place["web"] / "secret_key", environment.get("ZENITH_SECRET_KEY") or earlier.get("secret_key"), GROUP
        ),
        ADMIN: _secret(place["roles"] / ADMIN, None, GROUP),
        "other_secret_key": _secret(place["worker"] / "secret_key", None, GROUP),
        "flower_password": _secret(
            place["flower"] / "flower_password",
            environment.get("ZENITH_FLOWER_PASSWORD") or earlier.get("flower_password"),
            GROUP,
        ),
        "database_url": f"postgres://{_quoted(user)}:{_quoted(password)}@db:5432/{_quoted(database)}",
        "redis_url": f"redis://:{_quoted(broker)}@redis:6379/0",
        "node_redis_url": f"redis://{redis_users.WORKER}:{_quoted(worker_broker)}@redis:6379/0",
    }
    for process, files in GIVEN.items():
        for file, secret in files.items():
            _write(place[process] / file, values[secret], GROUP)
    (place["migrate"] / "flower_password").unlink(missing_ok=True)


def _from_earlier_versions(place: Mapping[str, Path]) -> dict[str, str]:
    """Return the secrets of web and Flower if they have none yet: earlier versions kept all secrets in `migrate`'s directory."""
    earlier = {}
    for process, name in (("web", "secret_key"), ("flower", "flower_password")):
        path = place["migrate"] / name
        if path.exists() and not (place[process] / name).exists():
            earlier[name] = path.read_text(encoding="utf-8").strip()
    return earlier


def _secret(path: Path, configured: str | None, mode: int) -> str:
    """Store a secret in a file and return it."""
    stored = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    value = configured or stored or secrets.token_urlsafe(32)
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
