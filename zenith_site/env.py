"""Typed readers of the environment: the one place where a wrong value stops the start.

Every reader takes a variable's name. If the value is invalid, it ends the process with one line: the variable, its value, and
what is accepted. An empty value counts as not set, because Docker Compose passes unset variables that way.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
RATE = re.compile(r"^([0-9]{1,9})/([0-9]{0,6})(s|m|h)\Z")
ACCEPTED_RATE = "COUNT/PERIOD with a count of at least 1, such as 5/60s, 100/m or 1000/1h"
T = TypeVar("T")
SECONDS = {"s": 1, "m": 60, "h": 3600}
MODULE = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
MAIL = re.compile(r"^[^@\s,<>]+@[^@\s,<>]+$")
NAME_PATTERN = re.compile(r"^[A-Za-z_*][A-Za-z0-9_*]{0,254}\Z")
HOST = re.compile(r"^(\*|\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$")


#: Only characters that need no quoting in a proxy's configuration, a cookie or a pattern.
SUB_PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Site:
    """A site's public address.

    Attributes:
        origin: scheme, host and port.
        host: the host, as in Django's ALLOWED_HOSTS.
        path: the sub path that all paths begin with, without a trailing slash; empty if there is none.
    """

    origin: str
    host: str
    path: str

    @property
    def url(self) -> str:
        """The address, without a trailing slash."""
        return self.origin + self.path


class WrongSetting(SystemExit):
    """A setting's value is invalid.

    It is a SystemExit, so that every program that imports the settings (manage.py, daphne, celery) ends with exactly this line on
    stderr and status 1. Any other exception would show a traceback.
    """


@dataclass(frozen=True)
class Rate:
    """A number of calls in a number of seconds, as in `5/60s`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


def parse_rate(text: str) -> Rate | None:
    """Parse a rate such as `5/60s`; return None if the text is not one."""
    match = RATE.match(text)
    count, seconds = (int(match[1]), int(match[2] or 1) * SECONDS[match[3]]) if match else (0, 0)
    return Rate(count, seconds) if count and seconds else None


def read_dotenv(path: Path) -> None:
    """Add the variables of a `.env` file to the environment; variables that are already set stay."""
    if path.is_file():
        import environ

        # It reports invalid lines through this logger, before Django has configured logging.
        logging.getLogger("environ.environ").setLevel(logging.ERROR)
        environ.Env.read_env(path, encoding="utf-8")


class Environment:
    """The environment of a process.

    Arguments:
        values: `os.environ`, or a dictionary in tests.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        """Return the value without surrounding white space, or the default."""
        return self.values.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """Return the value of NAME, or the content of the file in NAME_FILE; empty if neither is set."""
        value, path = self.text(name), self.text(f"{name}_FILE")
        if value and path:
            raise WrongSetting(f"{name} and {name}_FILE are both set: set one of them.")
        if not path:
            return value
        try:
            content = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._refuse(f"{name}_FILE", path, f"the path of a readable file ({reason})")
        if not content:
            self._refuse(f"{name}_FILE", path, "the path of a file that is not empty")
        return content

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        """Return one of the options; upper and lower case are the same."""
        value = self.text(name, default).lower()
        if value not in options:
            self._refuse(name, self.text(name), f"one of {', '.join(options)}")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return a boolean, from any of the usual spellings."""
        value = self.text(name).lower()
        if not value:
            return default
        if value not in TRUE + FALSE:
            self._refuse(name, self.text(name), "true or false (also 1/0, yes/no, on/off)")
        return value in TRUE

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """Return a whole number within bounds."""
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not minimum <= int(value) <= maximum:
            self._refuse(name, value, f"a whole number from {minimum} to {maximum}")
        return int(value)

    def names(self, name: str) -> list[str]:
        """Return a comma-separated list, without empty entries."""
        return [entry.strip() for entry in self.text(name).split(",") if entry.strip()]

    def name_patterns(self, name: str, default: list[str]) -> list[str]:
        """Return patterns for names of variables, in which `*` matches anything."""
        patterns = self.names(name)
        for pattern in patterns:
            if not NAME_PATTERN.match(pattern):
                self._refuse(name, pattern, "comma-separated names of variables, * for anything, such as APP_*,TZ")
        return patterns or default

    def hosts(self, name: str) -> list[str]:
        """Return host names for Django's ALLOWED_HOSTS."""
        hosts = self.names(name)
        for host in hosts:
            if not HOST.match(host):
                self._refuse(name, host, "comma-separated host names without scheme or port, such as zenith.example.com")
        return hosts

    def origins(self, name: str) -> list[str]:
        """Return origins for Django's CSRF_TRUSTED_ORIGINS."""
        origins = self.names(name)
        for origin in origins:
            parts = _split(origin)
            if parts is None or parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
                self._refuse(name, origin, "comma-separated origins, such as https://zenith.example.com")
        return origins

    def modules(self, name: str) -> list[str]:
        """Return the dotted names of Python modules."""
        modules = self.names(name)
        for module in modules:
            if not MODULE.match(module):
                self._refuse(name, module, "comma-separated Python modules, such as shop.tasks,billing.tasks")
        return modules

    def module(self, name: str) -> str:
        """Return the dotted name of one Python module; empty if none is set."""
        module = self.text(name)
        if module and not MODULE.match(module):
            self._refuse(name, module, "a Python module, such as shop.celeryconfig")
        return module

    def unset(self, name: str, reason: str) -> None:
        """Refuse a variable with which another program would override Zenith's settings; its value may hold a password."""
        if value := self.text(name):
            raise WrongSetting(f"{name}={without_password(value)!r} is not accepted: {reason}.")

    def rate(self, name: str, default: str) -> Rate:
        """Return a rate such as `5/60s`, `100/m` or `1000/1h`."""
        return self.parsed(name, default, parse_rate, ACCEPTED_RATE)

    def parsed(self, name: str, default: str, parse: Callable[[str], T | None], accepted: str) -> T:
        """Return what `parse` makes of the value. None means that it is invalid; `accepted` then describes valid values."""
        value = self.text(name, default)
        parsed = parse(value)
        if parsed is None:
            self._refuse(name, value, accepted)
        return parsed

    def addresses(self, name: str) -> list[str]:
        """Return e-mail addresses, from a comma-separated list."""
        addresses = self.names(name)
        for address in addresses:
            if not MAIL.match(address):
                self._refuse(name, address, "comma-separated addresses, such as ops@example.com")
        return addresses

    def url(self, name: str, *, schemes: tuple[str, ...], example: str) -> str:
        """Return a server's address with its password, also from NAME_FILE; an error does not show the password."""
        value = self.secret(name)
        if not value:
            return ""
        parts = _split(value)
        if parts is None or parts.scheme not in schemes or not (parts.netloc or parts.query):
            self._refuse(name, without_password(value), f"an address such as {example}")
        return value

    def site(self, name: str, *, example: str) -> Site | None:
        """Return this site's public address; None if it is not set."""
        value = self.text(name)
        if not value:
            return None
        parts = _split(value)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            self._refuse(name, without_password(value), f"an address such as {example}")
        path = parts.path.rstrip("/")
        if parts.query or parts.fragment or not SUB_PATH.match(path) or {".", ".."} & set(path.split("/")):
            self._refuse(name, value, f"an address such as {example} or {example}/zenith")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return Site(f"{parts.scheme}://{parts.netloc.lower()}", host, path)

    def webhook(self, name: str, *, example: str) -> str:
        """Return a URL to post to, also from NAME_FILE. The whole URL may be a secret, so an error does not show it."""
        value = self.secret(name)
        if value and not is_webhook(value):
            self._refuse(name, "***", f"an address without a login, such as {example}")
        return value

    def _refuse(self, name: str, value: str, accepted: str) -> NoReturn:
        excerpt = value if len(value) <= 200 else f"{value[:200]}…"
        raise WrongSetting(f"{name}={excerpt!r} is not accepted: it takes {accepted}.")


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address; None if it or its port is malformed."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_webhook(url: str) -> bool:
    """Whether something can be posted to a URL: http or https, with a host and without a login."""
    parts = _split(url)
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def without_password(url: str) -> str:
    """Return an address for display, with its credentials masked.

    A value that is not an address may be a password that was pasted by mistake, so it is masked as a whole.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    _, at, location = rest.rpartition("@")
    return f"{scheme}://***@{location}" if at else url
