"""This machine: the installed packages, the settings, the data directory, the disk and the port."""

import re
import shutil
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core import checks

from zenith_site.doctor.registry import Finding, check, error, warning
from zenith_site.launch.readiness import answers_elsewhere
from zenith_site.tracing import environment
from zenith_site.version import DISTRIBUTION

#: The share of a disk that should be free, and the share that must be.
ROOM: Final = 0.10
NO_ROOM: Final = 0.02
_REINSTALL: Final = "install Zenith into a virtual environment of its own"
_PIN: Final = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)[ ]*(?:;(.*))?$", re.M)


@check("versions")
def versions() -> Iterator[Finding]:
    """The installed packages are those that this version was tested with."""
    tested: dict[str, list[str]] = {}
    optional = set()
    for name, version, condition in _PIN.findall(_pins()):
        tested.setdefault(name, []).append(version)
        # A condition may name another system or Python version.
        optional |= {name} if condition else set()
    installed = {name: _installed(name) for name in tested}
    wrong = [
        f"{name} {installed[name] or 'missing'} (tested with {' or '.join(versions)})"
        for name, versions in tested.items()
        if installed[name] not in versions and not (installed[name] is None and name in optional)
    ]
    if environment.is_enabled() and (absent := environment.missing()):
        yield warning(f"Tracing is enabled, but {absent} is not installed", environment.INSTALL)
    if wrong:
        yield warning(
            f"Untested versions: {', '.join(wrong)}",
            _REINSTALL if settings.ZENITH_INSTALLED else "pip install -r requirements.txt",
        )


@check("settings")
def own_checks() -> Iterator[Finding]:
    """Django's own checks pass, and production has the settings that it needs."""
    for message in checks.run_checks():
        if message.level >= checks.WARNING and not message.is_silenced():
            finding = error if message.level >= checks.ERROR else warning
            yield finding(f"{message.msg} ({message.id})", message.hint or "see Django's documentation of this check")
    if settings.ZENITH_ENV != "production" and settings.ZENITH_HOST not in ("127.0.0.1", "::1", "localhost"):
        yield warning(
            f"Zenith listens on {settings.ZENITH_HOST} in development mode: cookies are not secure, and secrets are generated",
            "ZENITH_ENV=production",
        )
    if settings.ZENITH_ENV == "production" and set(settings.ALLOWED_HOSTS) <= {"localhost", "127.0.0.1", "[::1]"}:
        yield error("Zenith cannot be reached by its public name", "ZENITH_ALLOWED_HOSTS=zenith.example.com, with your own name")
    if settings.ZENITH_ENV == "production" and not settings.ZENITH_METRICS_TOKEN:
        yield warning("/metrics shows the names of tasks and queues to everybody", "ZENITH_METRICS_TOKEN=$(openssl rand -hex 32)")


@check("disk")
def disk() -> Iterator[Finding]:
    """The data directory's disk has room."""
    place = next(path for path in (settings.ZENITH_DATA_DIR, *settings.ZENITH_DATA_DIR.parents) if path.exists())
    usage = shutil.disk_usage(place)
    free = usage.free / usage.total
    if free < ROOM:
        finding = error if free < NO_ROOM else warning
        yield finding(
            f"Only {100 * free:.0f} % of the disk that holds {place} is free ({usage.free / 2**30:.1f} GiB)",
            "free up space; `manage.py prune` removes what is older than ZENITH_RETENTION_DAYS",
        )


@check("the data directory")
def data_directory() -> Iterator[Finding]:
    """The data directory is writable, and only its owner can read the secrets."""
    place: Path = settings.ZENITH_DATA_DIR
    if place.exists() and not _is_writable(place):
        yield error(f"{place} is not writable", f"chown -R $(id -un) {place}, or set ZENITH_DATA_DIR to another directory")
    secrets = place / "secrets"
    for path in (secrets, *secrets.glob("*")) if secrets.exists() else ():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield error(f"Other users can read {path}", f"chmod go= {path}, and change the secret")


@check("the port")
def port() -> Iterator[Finding]:
    """No other program listens on Zenith's port."""
    host, number = settings.ZENITH_HOST, settings.ZENITH_PORT
    if answers_elsewhere(host, number):
        yield error(f"A program that is not Zenith listens on port {number} of {host}", "stop it, or set ZENITH_PORT to another")


def _pins() -> str:
    """Return the requirements with their exact versions, one a line; a wheel has them in its metadata."""
    if settings.ZENITH_INSTALLED:
        return "\n".join(metadata.requires(DISTRIBUTION) or ())
    return str((settings.BASE_DIR / "requirements.txt").read_text("utf-8"))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _is_writable(place: Path) -> bool:
    probe = place / ".doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
