"""One run of `manage.py up`, in a process that loads neither Django's apps nor the tasks: it lives as long as they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings

from zenith_site.embedded import DataDirectoryLock, EmbeddedError, EmbeddedServers
from zenith_site.embedded.processes import exec_with_parent
from zenith_site.launch import docker, programs
from zenith_site.launch.banner import Login, banner
from zenith_site.launch.programs import EXPLAINED
from zenith_site.launch.readiness import await_health, require_free_port, url_of
from zenith_site.launch.supervisor import StartError, Supervisor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Ctrl-C or a similar signal; not an Exception, so that no handler takes it for a failure."""


def main(options: dict[str, Any]) -> int:
    """Run until a signal; return 0 after one, or 1 with one line on stderr if it cannot run."""
    launch = Launch(options)
    for number in STOP_SIGNALS:
        signal.signal(number, launch.on_signal)
    try:
        launch.run()
    except StopRequested:
        return 0
    except (EmbeddedError, StartError) as error:
        # The text is empty if another process has already printed the reason.
        if str(error):
            sys.stderr.write(f"{error}\n")
    return 1


class Launch:
    """One run of `up`.

    Arguments:
        options: the options of `manage.py up`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.host: str = options["host"]
        self.port: int = options["port"]
        self.url = url_of(self.host, self.port)
        self.supervisor = Supervisor(sys.stdout, settings.BASE_DIR)
        self.login = Login("", None, "", empty=False)
        self.engine = ""
        # Only the step that stores it needs it; servers and programs would inherit it.
        self._watched = os.environ.pop("ZENITH_WATCH", "")

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop everything in order on the first signal, and immediately on the second."""
        if self.supervisor.stopping:
            self.supervisor.impatient = True
            return
        self.supervisor.stopping = True
        raise StopRequested

    def run(self) -> None:
        """Start, keep running, stop."""
        with DataDirectoryLock(settings.ZENITH_DATA_DIR, self.url):
            require_free_port(self.host, self.port)
            self.engine = settings.ZENITH_AGENT_ENGINE if docker.answers(settings.ZENITH_AGENT_ENGINE) else ""
            servers = EmbeddedServers(
                settings.ZENITH_DATA_DIR,
                postgres=settings.ZENITH_EMBEDDED_POSTGRES,
                redis=settings.ZENITH_EMBEDDED_REDIS,
                bridge=docker.bridge(self.engine) if self.engine and not self.options["no_agent"] else None,
            )
            try:
                self._start_servers(servers)
                self._prepare()
                self._start_programs()
                self.supervisor.loop({"ready": self._on_ready, "slow": self._on_slow, "batch": self._on_batch_done})
            finally:
                self.supervisor.say("stopping")
                self.supervisor.stop()
                servers.stop()

    def _start_servers(self, servers: EmbeddedServers) -> None:
        names = [name for name, server in (("PostgreSQL", servers.postgres), ("Redis", servers.redis)) if server]
        if names:
            self.supervisor.say(f"starting {' and '.join(names)} in {settings.ZENITH_DATA_DIR}")
        servers.start()
        if servers.redis and servers.redis.notice:
            self.supervisor.say(servers.redis.notice)

    def _prepare(self) -> None:
        self.supervisor.say("preparing the database and the static files")
        command = exec_with_parent([*programs.MANAGE, "prepare", "--json"], death_signal=signal.SIGTERM)
        environment = os.environ | ({"ZENITH_WATCH": self._watched} if self._watched else {})
        completed = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, start_new_session=True, env=environment
        )
        if completed.returncode == EXPLAINED:
            raise StartError
        if completed.returncode:
            raise StartError(
                f"The database could not be prepared (`manage.py prepare` ended with status {completed.returncode})."
            )
        self.login = Login(**json.loads(completed.stdout.splitlines()[-1]))

    def _start_programs(self) -> None:
        self.supervisor.say("starting the processes")
        self.supervisor.start(programs.web(self.host, self.port))
        if not self.options["no_worker"]:
            self.supervisor.start(programs.worker(self.options["concurrency"], settings.CELERY_TASK_DEFAULT_QUEUE))
        if not self.options["no_engine"]:
            self.supervisor.start(programs.engine())
        if self.engine and not self.options["no_agent"]:
            self.supervisor.start(programs.agent())
        post = self.supervisor.post
        arguments = {
            "workers": 0 if self.options["no_worker"] else 1,
            "ready": lambda: post("ready"),
            "slow": lambda missing: post("slow", missing),
        }
        threading.Thread(target=await_health, args=(self.host, self.port), kwargs=arguments, daemon=True).start()

    def _on_ready(self, _: object) -> None:
        self.supervisor.ready = True
        skips_first_batch = any(self.options[name] for name in ("no_worker", "no_engine", "no_first_batch"))
        if self.login.empty and not skips_first_batch:
            self.supervisor.say("running a first batch of ten tasks")
            self.supervisor.start(programs.first_batch())
        else:
            self._show_banner()

    def _on_slow(self, missing: object) -> None:
        self.supervisor.say(f"still waiting: {missing}")

    def _on_batch_done(self, status: object) -> None:
        if status:
            self.supervisor.say(f"the first batch ended with status {status}; see the Tasks page for its progress")
        self._show_banner()

    def _show_banner(self) -> None:
        with suppress(BrokenPipeError):
            sys.stdout.write("\n".join(banner(self.url, self.login)) + "\n")
            sys.stdout.flush()
