"""`python -m zenith_site.launch.secrets`: what docker-compose.yml's services must know, made once before any of them starts.

Each secret is what the environment says, else what an earlier start kept, else made up. Three directories, each a volume: one for
Zenith's own processes, and one each for PostgreSQL and Redis with that server's password only. The servers' processes have users
of their own, so whoever is given those two may read them, as with Docker's own secrets.

Nothing here reads Django's settings: these need what is made here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from zenith_site.embedded.state import write_private

#: Readable by the group of the image's user, and by everyone who has the volume.
GROUP, ALL = 0o440, 0o444
#: Below which Zenith's own, PostgreSQL's and Redis' volumes are mounted.
ROOT: Final = Path("/")
ZENITH, POSTGRES, REDIS = Path("data/secrets"), Path("secrets/postgres"), Path("secrets/redis")


def write_all(root: Path, given: Mapping[str, str]) -> None:
    """Write every secret below the root; a file whose content is right already is left alone.

    Arguments:
        given: the environment, with POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, ZENITH_SECRET_KEY, ZENITH_FLOWER_PASSWORD.
    """
    zenith, postgres, redis = (root / place for place in (ZENITH, POSTGRES, REDIS))
    zenith.mkdir(mode=0o750, exist_ok=True)
    user, database = given.get("POSTGRES_USER") or "zenith", given.get("POSTGRES_DB") or "zenith"
    password = _secret(postgres / "password", given.get("POSTGRES_PASSWORD"), ALL)
    broker = _secret(redis / "password", None, ALL)
    _write(redis / "redis.conf", f"requirepass {broker}", ALL)
    _secret(zenith / "secret_key", given.get("ZENITH_SECRET_KEY"), GROUP)
    _secret(zenith / "flower_password", given.get("ZENITH_FLOWER_PASSWORD"), GROUP)
    _write(zenith / "database_url", f"postgres://{_quoted(user)}:{_quoted(password)}@db:5432/{_quoted(database)}", GROUP)
    _write(zenith / "redis_url", f"redis://:{_quoted(broker)}@redis:6379/0", GROUP)


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
