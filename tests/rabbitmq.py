"""A real RabbitMQ of its own for a test, on loopback, with ports, a node name, data and an epmd that it shares with nobody."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.processes import TAIL, ends, exec_with_parent, free_port, listens
from tests.programs import program
from tests.waiting import eventually

#: One scheduler that never spins: Erlang takes all cores otherwise, also while nothing is to be done.
_ERLANG = "+S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


#: What a user may configure, write and read, as regular expressions.
Rights = tuple[str, str, str]


@dataclass(frozen=True)
class RabbitMQ:
    """A server that runs, with the virtual hosts `hosts`."""

    port: int
    hosts: tuple[str, str] = ("one", "two")

    def url(self, host: str, user: str = "guest", address: str = "127.0.0.1") -> str:
        """Return the address of a virtual host; each user's password is its name."""
        return f"amqp://{user}:{user}@{address}:{self.port}/{host}"


@contextmanager
def running(directory: Path, rights: Mapping[str, Rights] = MappingProxyType({})) -> Iterator[RabbitMQ]:
    """Run a RabbitMQ with its files in `directory`, and users with `rights`. Skips or fails the test if none is installed."""
    server = program("rabbitmq-server")
    directory.mkdir()
    port, epmd_port = free_port(), free_port()
    log = directory / "log"
    environment = _environment(directory, port, epmd_port, {"guest": (".*", ".*", ".*"), **rights})
    started: list[subprocess.Popen[bytes]] = []
    with log.open("ab") as output:
        # Without one that listens, Erlang starts a daemon, which stays for ever.
        for command in ((_epmd(), "-port", str(epmd_port), "-address", "127.0.0.1"), (server,)):
            started.append(
                subprocess.Popen(
                    exec_with_parent(*command), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )
            )  # fmt: skip
    epmd, node = started
    try:
        eventually(lambda: node.poll() is not None or listens(port), within=40, but=lambda: log.read_text()[-TAIL:])
        assert node.poll() is None, log.read_text()[-TAIL:]
        yield RabbitMQ(port)
    finally:
        _end(node)
        _end(epmd)


def _environment(directory: Path, port: int, epmd_port: int, rights: Mapping[str, Rights]) -> dict[str, str]:
    (directory / "plugins").write_text("[].")
    definitions = directory / "definitions.json"
    definitions.write_text(json.dumps(_definitions(rights)))
    (directory / "configuration.conf").write_text(
        f"log.console = true\nlog.console.level = warning\nload_definitions = {definitions}\n"
    )
    return {
        "PATH": os.environ["PATH"],
        # Erlang's cookie lies there.
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(directory / "configuration.conf"),
        "RABBITMQ_NODENAME": f"zenith-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        # The script then becomes the server, which so ends with the tests; else it would wait for it, and leave it behind.
        "detached": "yes",
    }


def _definitions(rights: Mapping[str, Rights]) -> dict[str, list[dict[str, object]]]:
    """Return the virtual hosts, and users whose password is their name."""
    return {
        "users": [
            {"name": user, "password_hash": _hashed(user), "hashing_algorithm": "rabbit_password_hashing_sha256",
             "tags": "administrator" if user == "guest" else ""}
            for user in rights
        ],
        "vhosts": [{"name": host} for host in RabbitMQ.hosts],
        "permissions": [
            {"user": user, "vhost": host, "configure": configure, "write": write, "read": read}
            for user, (configure, write, read) in rights.items() for host in RabbitMQ.hosts
        ],
    }  # fmt: skip


def _hashed(password: str) -> str:
    salt = b"salt"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _epmd() -> str:
    found = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), "")
    assert found, "RabbitMQ is installed, but Erlang's epmd is not on PATH"
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    if not ends(process.pid, 30):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
