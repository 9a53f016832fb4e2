"""Typed readers of the environment; the one place where a wrong value stops the start.

Every reader takes the variable's name, and ends the process with one line (the variable, its value, what is accepted)
when the value is not of that kind. An empty value counts as not set, because docker compose passes unset ones that way.
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


#: Nothing in it needs quoting, so that it reads the same in a proxy's configuration, a cookie and a pattern.
SUB_PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a site is reached.

    Attributes:
        origin: scheme, host and port.
        host: as Django's ALLOWED_HOSTS takes it.
        path: what all paths begin with, without a slash at its end; empty for a host of its own.
    """

    origin: str
    host: str
    path: str

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self.origin + self.path


class WrongSetting(SystemExit):
    """A value that cannot be used.

    It is a SystemExit, so that whichever program imports the settings (manage.py, daphne, celery) ends with exactly this
    line on stderr and status 1: an ordinary exception would reach the reader as a traceback.
    """


@dataclass(frozen=True)
class Rate:
    """So many calls in so many seconds, as in `5/60s`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


def parse_rate(text: str) -> Rate | None:
    """The rate that `5/60s` and the like stand for; None for what stands for none."""
    match = RATE.match(text)
    count, seconds = (int(match[1]), int(match[2] or 1) * SECONDS[match[3]]) if match else (0, 0)
    return Rate(count, seconds) if count and seconds else None


def read_dotenv(path: Path) -> None:
    """Put the lines of a `.env` file into the environment, where they do not replace what is already set."""
    if path.is_file():
        import environ

        # A line that it cannot read is reported through this logger before Django has configured any.
        logging.getLogger("environ.environ").setLevel(logging.ERROR)
        environ.Env.read_env(path, encoding="utf-8")


class Environment:
    """The settings that a process was started with.

    Arguments:
        values: `os.environ`, or a dictionary in tests.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        """The value without surrounding white space, or the default."""
        return self.values.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """The value of NAME, or the content of the file that NAME_FILE names; empty when neither is set."""
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
        """One of the options, in any case."""
        value = self.text(name, default).lower()
        if value not in options:
            self._refuse(name, self.text(name), f"one of {', '.join(options)}")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """A yes or a no in one of the usual spellings."""
        value = self.text(name).lower()
        if not value:
            return default
        if value not in TRUE + FALSE:
            self._refuse(name, self.text(name), "true or false (also 1/0, yes/no, on/off)")
        return value in TRUE

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not minimum <= int(value) <= maximum:
            self._refuse(name, value, f"a whole number from {minimum} to {maximum}")
        return int(value)

    def names(self, name: str) -> list[str]:
        """A comma-separated list; empty entries are dropped."""
        return [entry.strip() for entry in self.text(name).split(",") if entry.strip()]

    def name_patterns(self, name: str, default: list[str]) -> list[str]:
        """Names of variables, in which `*` stands for anything."""
        patterns = self.names(name)
        for pattern in patterns:
            if not NAME_PATTERN.match(pattern):
                self._refuse(name, pattern, "comma-separated names of variables, * for anything, such as APP_*,TZ")
        return patterns or default

    def hosts(self, name: str) -> list[str]:
        """Host names as Django's ALLOWED_HOSTS takes them."""
        hosts = self.names(name)
        for host in hosts:
            if not HOST.match(host):
                self._refuse(name, host, "comma-separated host names without scheme or port, such as zenith.example.com")
        return hosts

    def origins(self, name: str) -> list[str]:
        """Origins as Django's CSRF_TRUSTED_ORIGINS takes them."""
        origins = self.names(name)
        for origin in origins:
            parts = _split(origin)
            if parts is None or parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
                self._refuse(name, origin, "comma-separated origins, such as https://zenith.example.com")
        return origins

    def modules(self, name: str) -> list[str]:
        """Dotted names of Python modules."""
        modules = self.names(name)
        for module in modules:
            if not MODULE.match(module):
                self._refuse(name, module, "comma-separated Python modules, such as shop.tasks,billing.tasks")
        return modules

    def module(self, name: str) -> str:
        """The dotted name of one Python module; empty where none is set."""
        module = self.text(name)
        if module and not MODULE.match(module):
            self._refuse(name, module, "a Python module, such as shop.celeryconfig")
        return module

    def unset(self, name: str, reason: str) -> None:
        """Refuse a variable that another program reads and that would undo what is set here; its value may hold a password."""
        if value := self.text(name):
            raise WrongSetting(f"{name}={without_password(value)!r} is not accepted: {reason}.")

    def rate(self, name: str, default: str) -> Rate:
        """A rate such as `5/60s`, `100/m` or `1000/1h`."""
        return self.parsed(name, default, parse_rate, ACCEPTED_RATE)

    def parsed(self, name: str, default: str, parse: Callable[[str], T | None], accepted: str) -> T:
        """What `parse` makes of the value; where that is None, `accepted` says what would have been."""
        value = self.text(name, default)
        found = parse(value)
        if found is None:
            self._refuse(name, value, accepted)
        return found

    def addresses(self, name: str) -> list[str]:
        """Addresses of e-mail, comma-separated."""
        addresses = self.names(name)
        for address in addresses:
            if not MAIL.match(address):
                self._refuse(name, address, "comma-separated addresses, such as ops@example.com")
        return addresses

    def url(self, name: str, *, schemes: tuple[str, ...], example: str) -> str:
        """A server's address with its password, also through NAME_FILE; refused without showing the password."""
        value = self.secret(name)
        if not value:
            return ""
        parts = _split(value)
        if parts is None or parts.scheme not in schemes or not (parts.netloc or parts.query):
            self._refuse(name, without_password(value), f"an address such as {example}")
        return value

    def site(self, name: str, *, example: str) -> Site | None:
        """Where this site is reached; None where that is not set."""
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
        """An address to post to, also through NAME_FILE; it may be a secret as a whole, and is refused without being shown."""
        value = self.secret(name)
        parts = _split(value)
        if value and (parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
            self._refuse(name, "***", f"an address without a login, such as {example}")
        return value

    def _refuse(self, name: str, value: str, accepted: str) -> NoReturn:
        shown = value if len(value) <= 200 else f"{value[:200]}…"
        raise WrongSetting(f"{name}={shown!r} is not accepted: it takes {accepted}.")


def _split(url: str) -> SplitResult | None:
    """The parts of an address, or None where it or its port is malformed."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def without_password(url: str) -> str:
    """The address with `***` for its password, fit to be printed.

    A value that is not an address at all may be anything, a password pasted by mistake among them: nothing of it is shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    _, at, place = rest.rpartition("@")
    return f"{scheme}://***@{place}" if at else url
