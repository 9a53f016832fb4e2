"""`manage.py run_agent`: run the agent of one Docker host."""

import logging
import re
import threading
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from infra_app.agent.leadership import Agent
from infra_app.gateway import Connection, Engine, Tls
from zenith_site.common.loops import stop_on_signals

logger = logging.getLogger(__name__)

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ENGINE: Final = re.compile(r"(unix:///|tcp://|ssh://)\S+")
_CERTIFICATES: Final = ("ca.pem", "cert.pem", "key.pem")
_LABEL: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?)=([^\x00-\x1f]{0,63})")


class Command(BaseCommand):
    """Starts, watches and stops the worker nodes of one Docker host according to their desired state in PostgreSQL."""

    help = "Run the agent of one Docker host: start, watch and stop its worker nodes. A second agent for the same host waits."
    # System checks import the URLs, and with them all pages and the API, which an agent does not need.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the host's name and how to reach its engine."""
        parser.add_argument(
            "--host",
            type=_host,
            default=settings.ZENITH_AGENT_HOST,
            metavar="NAME",
            help="name of the host (default %(default)s)",
        )
        parser.add_argument(
            "--engine", type=_engine, default=settings.ZENITH_AGENT_ENGINE, metavar="URL",
            help="address of the Docker Engine: unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST (default %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--tls", type=Path, default=settings.ZENITH_AGENT_TLS, metavar="DIRECTORY",
            help="directory with ca.pem, cert.pem and key.pem, for an engine that requires client certificates",
        )  # fmt: skip
        parser.add_argument(
            "--region",
            default=None,
            metavar="NAME",
            help="region of the host, for placement; if omitted, the stored region is kept",
        )
        parser.add_argument(
            "--label",
            type=_label,
            action="append",
            metavar="NAME=VALUE",
            help="label of the host, for placement; may be repeated; if omitted, the stored labels are kept",
        )

    def handle(
        self,
        *args: Any,
        host: str,
        engine: str,
        tls: Path | None,
        region: str | None,
        label: list[tuple[str, str]] | None,
        **options: Any,
    ) -> None:
        """Run until SIGTERM or SIGINT; steps in progress finish first. Nodes keep running."""
        about: dict[str, Any] = {"address": engine, "agent_version": settings.ZENITH_VERSION}
        if region is not None:
            about["region"] = region
        if label is not None:
            about["labels"] = dict(label)
        connection = Connection(engine, _certificates(tls))
        if settings.ZENITH_NODE_REDIS_URL and not urlsplit(settings.ZENITH_NODE_REDIS_URL).username:
            logger.warning(
                "Nodes connect to Redis as a user who may administer it. Give them a user of their own: docs/deploy.md"
            )
        stop = threading.Event()
        stop_on_signals(stop)
        Agent(host, Engine(connection), about).run(stop)
        connection.close()
        self.stdout.write("agent stopped")


def _host(text: str) -> str:
    return _matching(_HOST, text, "1 to 63 letters, digits, '.', '_' or '-', starting and ending with a letter or digit")[0]


def _engine(text: str) -> str:
    return _matching(_ENGINE, text, "unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST")[0]


def _label(text: str) -> tuple[str, str]:
    match = _matching(_LABEL, text, "NAME=VALUE, such as disk=ssd")
    return match[1], match[2]


def _matching(pattern: re.Pattern[str], text: str, accepted: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not accepted: it takes {accepted}")
    return match


def _certificates(directory: Path | None) -> Tls | None:
    if directory is None:
        return None
    ca, certificate, key = (directory / name for name in _CERTIFICATES)
    missing = [path.name for path in (ca, certificate, key) if not path.is_file()]
    if missing:
        raise CommandError(f"{directory} has no {', '.join(missing)}: --tls expects a directory with {', '.join(_CERTIFICATES)}.")
    return Tls(str(ca), str(certificate), str(key))
