"""Brokers' URLs that can be watched, and the names of applications that follow from them. No error shows a URL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from zenith_site.common.errors import InvalidInputError, Problem
from zenith_worker.wire.applications import is_name

#: The schemes of brokers that Celery has events for, and that Zenith has drivers of.
SCHEMES: Final = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp")
#: Schemes that Celery knows, with the reason why they cannot be watched.
_REFUSED: Final = {
    "sqs": "Amazon SQS carries neither Celery's events nor its remote control",
    "filesystem": "a directory carries no events between machines",
    "memory": "it lives inside one process",
    "rpc": "it is for results and is no broker",
}
_REDIS: Final = ("redis", "rediss", "redis+socket", "sentinel")
_LONGEST: Final = 4096
#: The name of an URL's parameter with Sentinel's name for the master.
MASTER: Final = "master_name"
_UNNAMED: Final = re.compile(r"[^a-z0-9]+")


def check_url(url: str) -> str:
    """Return a broker's URL without surrounding white space. Raises InvalidInputError, which shows nothing of it."""
    url = url.strip()
    if reason := _why_not(url):
        raise InvalidInputError(Problem("/url", reason))
    return url


def _why_not(url: str) -> str:
    accepted = f"it takes {', '.join(SCHEMES)}"
    if not url or len(url) > _LONGEST or re.search(r"\s|[^\x20-\x7e]", url):
        return f"is not a broker's URL: it has 1 to {_LONGEST:,} printable ASCII characters"
    scheme, found, _ = url.partition("://")
    if not found:
        return f"is not a broker's URL, such as redis://:PASSWORD@HOST:6379/0: {accepted}"
    if scheme not in SCHEMES:
        # What stands before `://` may be anything, also a password.
        shown = scheme if re.fullmatch(r"[a-z][a-z+]{1,20}", scheme) and scheme in _KNOWN else ""
        why = _REFUSED.get(scheme, "Celery has no events there, or Zenith no driver")
        return (
            f"the scheme {shown} cannot be watched: {why}. {accepted}" if shown else f"its scheme cannot be watched: {accepted}"
        )
    try:
        parts = [urlsplit(part) for part in url.split(";")]
        for part in parts:
            _ = part.port
    except ValueError:
        return "has an address that cannot be read: HOST:PORT with a port of 1 to 65535, special characters in a password as %XX"
    if scheme == "redis+socket":
        return "" if parts[0].path else "names no socket, as in redis+socket:///run/redis.sock"
    if not all(part.hostname for part in parts):
        return "names no host"
    if scheme == "sentinel" and not master_of(url)[1]:
        return f"names no master: add ?{MASTER}=NAME, Sentinel's name for it"
    return ""


#: Schemes that kombu knows and that hold no secret, so that an error may name them.
_KNOWN: Final = frozenset(
    {
        *_REFUSED, "azureservicebus", "azurestoragequeues", "confluentkafka", "consul", "etcd", "gcpubsub", "http", "https",
        "kafka", "librabbitmq", "mongodb", "pyro", "qpid", "SLMQ", "sqla", "sqlalchemy", "valkey", "valkeys", "zookeeper",
    }
)  # fmt: skip


def master_of(url: str) -> tuple[str, str]:
    """Return a Sentinel's URL without the parameter that names the master, and that name; the name is empty if there is none."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    master = query.pop(MASTER, "")
    return (urlunsplit(parts._replace(query=urlencode(query))) if master else url), master


def is_redis(url: str) -> bool:
    """Whether the broker is Redis, in whatever way it is reached."""
    return url.partition("://")[0] in _REDIS


def name_of(url: str) -> str:
    """Return a name for the application at this URL, made of its host and database or virtual host."""
    parts = urlsplit(url.split(";")[0])
    place = parts.path.strip("/") if parts.scheme != "redis+socket" else parts.path.rpartition("/")[2].partition(".")[0]
    host = "" if parts.scheme == "redis+socket" else parts.hostname or ""
    words = [_UNNAMED.sub("-", word.lower()).strip("-") for word in (host, place)]
    name = "-".join(word for word in words if word)[:50].strip("-")
    return name if is_name(name) else "watched"
