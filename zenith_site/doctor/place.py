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

#: Shares of a disk that should be free, and must be.
ROOM: Final = 0.10
NO_ROOM: Final = 0.02
_PIN: Final = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)[ ]*(?:;(.*))?$", re.M)


@check("versions")
def versions() -> Iterator[Finding]:
    """The installed packages are those that this version was tested with."""
    pins = (settings.BASE_DIR / "requirements.txt").read_text("utf-8")
    tested: dict[str, list[str]] = {}
    elsewhere = set()
    for name, version, condition in _PIN.findall(pins):
        tested.setdefault(name, []).append(version)
        # Under a condition it may belong to another system or Python.
        elsewhere |= {name} if condition else set()
    found = {name: _installed(name) for name in tested}
    wrong = [
        f"{name} {found[name] or 'missing'} (tested with {' or '.join(versions)})"
        for name, versions in tested.items()
        if found[name] not in versions and not (found[name] is None and name in elsewhere)
    ]
    if environment.is_enabled() and (absent := environment.missing()):
        yield warning(f"Traces are asked for, but {absent} is not installed", environment.INSTALL)
    if wrong:
        yield warning(f"Other versions than tested: {', '.join(wrong)}", "pip install -r requirements.txt")


@check("settings")
def own_checks() -> Iterator[Finding]:
    """Django's own checks, and what production needs."""
    for message in checks.run_checks():
        if message.level >= checks.WARNING and not message.is_silenced():
            finding = error if message.level >= checks.ERROR else warning
            yield finding(f"{message.msg} ({message.id})", message.hint or "see Django's documentation of this check")
    if settings.ZENITH_ENV != "production" and settings.ZENITH_HOST not in ("127.0.0.1", "::1", "localhost"):
        yield warning(
            f"Zenith listens on {settings.ZENITH_HOST} as in development: cookies are not secure, and secrets are generated",
            "ZENITH_ENV=production",
        )
    if settings.ZENITH_ENV == "production" and set(settings.ALLOWED_HOSTS) <= {"localhost", "127.0.0.1", "[::1]"}:
        yield error("Nobody can reach Zenith by its public name", "ZENITH_ALLOWED_HOSTS=zenith.example.com, with your own name")
    if settings.ZENITH_ENV == "production" and not settings.ZENITH_METRICS_TOKEN:
        yield warning("/metrics tells the names of tasks and queues to everybody", "ZENITH_METRICS_TOKEN=$(openssl rand -hex 32)")


@check("disk")
def disk() -> Iterator[Finding]:
    """There is room where the data directory lies."""
    place = next(path for path in (settings.ZENITH_DATA_DIR, *settings.ZENITH_DATA_DIR.parents) if path.exists())
    usage = shutil.disk_usage(place)
    free = usage.free / usage.total
    if free < ROOM:
        finding = error if free < NO_ROOM else warning
        yield finding(
            f"{100 * free:.0f} % of the disk under {place} are free ({usage.free / 2**30:.1f} GiB)",
            "make room; `manage.py prune` removes what is older than ZENITH_RETENTION_DAYS",
        )


@check("the data directory")
def data_directory() -> Iterator[Finding]:
    """It can be written, and only its owner reads the secrets."""
    place: Path = settings.ZENITH_DATA_DIR
    if place.exists() and not _is_writable(place):
        yield error(f"{place} cannot be written", f"chown -R $(id -un) {place}, or name another in ZENITH_DATA_DIR")
    secrets = place / "secrets"
    for path in (secrets, *secrets.glob("*")) if secrets.exists() else ():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield error(f"Others than its owner may read {path}", f"chmod go= {path}, and change the secret")


@check("the port")
def port() -> Iterator[Finding]:
    """Where Zenith is to listen, nobody else does."""
    host, number = settings.ZENITH_HOST, settings.ZENITH_PORT
    if answers_elsewhere(host, number):
        yield error(f"Something that is not Zenith listens on port {number} of {host}", "end it, or set ZENITH_PORT to another")


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
