"""A real PgBouncer in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from tests.processes import exec_with_parent, free_port, listens
from tests.programs import program
from tests.waiting import eventually

CONFIG = """
[databases]
* = host={host} port={server} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
{user_line}
"""


@contextmanager
def pooled(directory: Path, mode: str) -> Iterator[None]:
    """Have this process' connections to PostgreSQL lead through PgBouncer in this mode."""
    known = connection.settings_dict
    port = free_port()
    config, log = directory / "pgbouncer.ini", directory / "pgbouncer.log"
    # It refuses to run as root.
    user_line = "user = nobody" if os.getuid() == 0 else ""
    config.write_text(
        CONFIG.format(
            host=known["HOST"], server=known["PORT"], user=known["USER"], password=known["PASSWORD"], port=port, mode=mode,
            user_line=user_line,
        )
    )  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            exec_with_parent(program("pgbouncer"), str(config)), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    place = {name: known[name] for name in ("HOST", "PORT")}
    try:
        eventually(lambda: process.poll() is not None or listens(port), but=log.read_text)
        assert process.poll() is None, log.read_text()
        connection.close()
        known.update(HOST="127.0.0.1", PORT=port)
        yield
    finally:
        connection.close()
        known.update(place)
        process.terminate()
        process.wait(30)
