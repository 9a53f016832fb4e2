"""Processes of Zenith that start warm: forked from one that has imported the libraries, which is most of what a start costs.

    python tests/warm.py SOCKET

It imports libraries only, nothing of this repository and no settings, so a fork sees its own environment as a new interpreter
would, and ends as one does. The start of Zenith without this is what test_up.py and containers are for.

A request is one datagram: `{"command", "environment", "directory"}` as JSON, with four descriptors: standard input, output
and error, and one into which the process' id is written at once and, at its end, its exit status as subprocess.Popen has it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15

#: Bytes of a request.
LIMIT = 1 << 20
#: What most processes import. A name that is gone costs time and nothing else.
LIBRARIES = (
    "celery.apps.worker", "celery.backends.redis", "celery.bin.celery", "celery.concurrency.prefork", "celery.events",
    "celery.worker.autoscale", "celery.worker.consumer", "celery.worker.control", "celery.worker.strategy", "channels.db",
    "channels.generic.websocket", "channels.layers", "channels.routing", "channels_redis.core",
    "cryptography.hazmat.primitives.ciphers.aead", "cryptography.hazmat.primitives.hpke",
    "cryptography.hazmat.primitives.kdf.hkdf", "django.contrib.admin.options", "django.contrib.postgres.fields",
    "django.contrib.staticfiles.storage", "django.core.mail", "django.core.management.commands",
    "django.db.backends.postgresql.base", "django.db.models", "django.forms", "django.template.backends.django",
    "django.template.loader", "django.test.client", "django.views.debug", "django.views.generic", "docker", "email.mime.text",
    "environ", "kombu.transport.redis", "limits.storage", "limits.strategies", "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace", "prometheus_client", "psutil", "psycopg.types.json", "pydantic", "pydantic.networks",
    "redis.asyncio", "requests", "twisted.internet.protocol", "twisted.web.http", "whitenoise.storage", "yaml",
)  # fmt: skip


Request = dict[str, Any]


def serve(asked: socket.socket) -> Request | None:
    """Fork for each request until nobody asks any more; returns, in a fork, what is to run there."""
    running: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        readable, _, _ = select.select((asked, woken), (), ())
        with suppress(BlockingIOError):
            os.read(woken, 512)
        _report(running)
        if asked not in readable:
            continue
        line, descriptors, _, _ = socket.recv_fds(asked, LIMIT, 4)
        if not line:
            return None
        *streams, told = descriptors
        parent, child = os.getpid(), os.fork()
        if child == 0:
            _detach(parent, streams)
            return Request(json.loads(line))
        os.write(told, b"%d\n" % child)
        running[child] = told
        for stream in streams:
            os.close(stream)


def _report(running: dict[int, int]) -> None:
    """Tell of each fork that has ended."""
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        told = running.pop(child)
        # Whoever asked may have gone.
        with suppress(BrokenPipeError):
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(told)


def _detach(parent: int, streams: list[int]) -> None:
    """Make a fork a process of its own, which ends with its parent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def run(request: Request) -> None:
    """Run the program as a new interpreter would."""
    directory, environment, (first, *rest) = request["directory"], request["environment"], request["command"]
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    # `ps` shows a fork's command as this program's; its short name (`ps -o comm`) tells what it really is.
    ctypes.CDLL(None).prctl(PR_SET_NAME, (rest[0].rpartition(".")[2] if rest else first).encode()[:15], 0, 0, 0)
    if first == "-m":
        sys.path.insert(0, directory)
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(directory, first).parent))
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    # This directory, in which there is another `docker`.
    del sys.path[0]
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    # Forks that look for garbage in there would copy all of it.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        request = serve(asked)
        # In a fork its number may be another's already.
        if request:
            asked.detach()
    if request:
        run(request)
