"""The embedded servers' state in the data directory: their ports, the bridge that they listen on, and their passwords.

Reading never creates anything, so the settings can be loaded (by `--help`, `check`, `makemigrations`) before the first start.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zenith_site.embedded.redis_users import WORKER

PORTS_FILE = "embedded.json"
DATABASE = "zenith"
DATABASE_USER = "zenith"
# The administrator's role, which Zenith's processes do not use: embedded/roles.py.
DATABASE_ADMIN = "zenith_admin"
LOOPBACK = "127.0.0.1"
# Below the ephemeral ports of Linux and macOS: an outgoing connection could occupy one of those at a later start.
FIRST_PORT, LAST_PORT = 20_000, 32_000


@dataclass(frozen=True)
class Bridge:
    """The network of the containers of a Docker Engine on this machine.

    Arguments:
        address: this machine's address on it, by which containers reach it.
        subnet: the containers' addresses, such as `172.17.0.0/16`.
    """

    address: str
    subnet: str


@dataclass(frozen=True)
class Addresses:
    """The addresses of one data directory's servers.

    Attributes:
        worker_redis_url: for the workers' user, who cannot administer the server (redis_users.py).
        node_redis_url: for nodes, from inside a container of the local Docker Engine; empty without one.
    """

    database_url: str
    redis_url: str
    worker_redis_url: str
    node_redis_url: str = ""


def addresses(data_dir: Path) -> Addresses:
    """Return the addresses of a data directory's servers, started or not."""
    postgres_password = quote(read_secret(data_dir, "postgres_password"), safe="")
    redis_password = quote(read_secret(data_dir, "redis_password"), safe="")
    worker_password = quote(read_secret(data_dir, "redis_worker_password"), safe="")
    database_url = f"postgres://{DATABASE_USER}:{postgres_password}@{LOOPBACK}:{read_port(data_dir, 'postgres')}/{DATABASE}"

    def redis_url(host: str, user: str = "", password: str = redis_password) -> str:
        return f"redis://{user}:{password}@{host}:{read_port(data_dir, 'redis')}/0"

    def worker_redis_url(host: str) -> str:
        return redis_url(host, WORKER, worker_password)

    gateway = read_bridge(data_dir)
    node_redis_url = worker_redis_url(gateway.address) if gateway else ""
    return Addresses(database_url, redis_url(LOOPBACK), worker_redis_url(LOOPBACK), node_redis_url)


def admin_address(data_dir: Path, database: str = DATABASE) -> str:
    """Return the address for PostgreSQL's administrator, who may do what the application's role may not."""
    password = quote(read_secret(data_dir, "postgres_admin_password"), safe="")
    return f"postgres://{DATABASE_ADMIN}:{password}@{LOOPBACK}:{read_port(data_dir, 'postgres')}/{database}"


def read_port(data_dir: Path, server: str) -> int:
    """Return the server's remembered port, else the one that its first start will try first."""
    remembered = _read_ports(data_dir).get(server)
    if remembered:
        return remembered
    seed = f"{server}:{data_dir.absolute()}".encode()
    return FIRST_PORT + zlib.crc32(seed) % (LAST_PORT - FIRST_PORT)


def remember_port(data_dir: Path, server: str, port: int) -> None:
    """Store the port that a server was started on, for its next start and for every other process."""
    _remember(data_dir, {server: port})


def read_bridge(data_dir: Path) -> Bridge | None:
    """Return the Docker bridge that the servers listen on since their last start; None if there was none."""
    stored = _read_file(data_dir).get("bridge")
    try:
        return Bridge(str(stored["address"]), str(stored["subnet"])) if stored else None
    except (TypeError, KeyError):
        return None


def remember_bridge(data_dir: Path, bridge: Bridge | None) -> None:
    """Store the bridge that the servers listen on, for every other process."""
    if bridge != read_bridge(data_dir):
        _remember(data_dir, {"bridge": bridge and asdict(bridge)})


def _remember(data_dir: Path, changes: dict[str, Any]) -> None:
    write_private(data_dir / PORTS_FILE, json.dumps(_read_file(data_dir) | changes) + "\n")


def _read_ports(data_dir: Path) -> dict[str, int]:
    return {name: port for name, port in _read_file(data_dir).items() if isinstance(port, int)}


def _read_file(data_dir: Path) -> dict[str, Any]:
    try:
        stored = json.loads((data_dir / PORTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def read_secret(data_dir: Path, name: str) -> str:
    """Return a secret that an earlier start generated, or an empty text."""
    try:
        return (data_dir / "secrets" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def ensure_secret(data_dir: Path, name: str, *, size: int = 32) -> str:
    """Return a secret of `size` random bytes, generated once and kept in a file that only its owner can read."""
    existing = read_secret(data_dir, name)
    if existing:
        return existing
    directory = data_dir / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / name, secrets.token_urlsafe(size) + "\n", replace=False)
    return read_secret(data_dir, name)


def write_private(path: Path, content: str, *, replace: bool = True, mode: int = 0o600) -> None:
    """Write a file atomically, with this mode.

    Arguments:
        replace: if false, an existing file stays: of two processes that generate the same secret, one must win.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        if replace:
            draft.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
