"""`manage.py watch`: watch a Celery application through its broker, without a change of its code.

The broker's URL is read, encrypted and stored; nothing prints it.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tasks_app.models import Application
from tasks_app.models.application import Kind
from tasks_app.watching import connection_tests, observer_state
from tasks_app.watching.applications import Watch, free_name, removal, remove, watch, why_unreachable
from tasks_app.watching.brokers import SERIALIZERS, Broker, BrokerUnknownError, broker_of, serializers_of
from tasks_app.watching.engine_key import sealed_here
from tasks_app.watching.urls import SCHEMES, check_url
from zenith_site.common.errors import InvalidInputError, ZenithError

#: The variable with a broker's URL: a command line can be read by everybody on the machine.
VARIABLE: Final = "ZENITH_WATCH_URL"
#: Exit statuses: what was asked for was not done, and input that cannot be accepted.
NOTHING: Final = 1
WRONG: Final = 2
_NAMED: Final = re.compile(r"([a-z0-9-]{1,50})=(\S+)")


class Command(BaseCommand):
    """List, add, change, test or remove watched applications."""

    help = (
        "Watch a Celery application through its broker: its code and its workers stay as they are. Without arguments, list"
        f" watched applications. Brokers: {', '.join(SCHEMES)}. The URL is encrypted in the database, and never shown again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what to watch, and how."""
        parser.add_argument("name", nargs="?", help="lower-case letters, digits, and hyphens between them")
        parser.add_argument(
            "url", nargs="?",
            help=f"the broker's URL; better in {VARIABLE}, or `-` to read it from stdin: others can see a command line",
        )  # fmt: skip
        parser.add_argument("--test", action="store_true", help="connect first, and change nothing if that fails")
        parser.add_argument("--key-prefix", metavar="TEXT", help="the application's `global_keyprefix`, for Redis")
        parser.add_argument(
            "--accept", metavar="NAMES", help=f"what its workers write: some of {','.join(SERIALIZERS)}, the first is sent"
        )
        parser.add_argument(
            "--enable-events", choices=("yes", "no"),
            help="whether Zenith asks its workers to send events (default: yes; no needs workers with `-E`)",
        )  # fmt: skip
        parser.add_argument("--remove", action="store_true", help="stop watching, and forget the URL")
        parser.add_argument("--dry-run", action="store_true", help="with --remove: only print what would be removed")
        parser.add_argument("--yes", action="store_true", help="with --remove: do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--configured", action="store_true", help="watch what ZENITH_WATCH names, as `prepare` does")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked. Raises CommandError, which shows no URL."""
        try:
            self._handle(options)
        except InvalidInputError as error:
            raise CommandError(
                "; ".join(f"{item.pointer.removeprefix('/')} {item.detail}" for item in error.problems), returncode=WRONG
            ) from None
        except ZenithError as error:
            raise CommandError(str(error), returncode=NOTHING) from None
        except redis.RedisError as error:
            raise CommandError(f"Zenith's Redis is unreachable: {type(error).__name__}", returncode=NOTHING) from None

    def _handle(self, options: dict[str, Any]) -> None:
        if options["configured"]:
            self._watch_configured()
        elif not options["name"]:
            self._list(as_json=options["json"])
        elif options["remove"]:
            self._remove(options)
        else:
            self._watch(options)

    def _watch_configured(self) -> None:
        for name, url in configured(settings.ZENITH_WATCH):
            url = check_url(url)
            row, is_new = watch(name or free_name(url), Watch(url=url))
            if is_new:
                self.stderr.write(f"Watching {row.name}.")

    def _list(self, *, as_json: bool) -> None:
        rows = list(Application.objects.filter(kind=Kind.WATCHED).order_by("name"))
        told = [_described(row) for row in rows]
        if as_json:
            self.stdout.write(json.dumps(told, indent=2))
            return
        for line in told:
            heard = f"last heard {line['last_heard_at']}" if line["last_heard_at"] else "never heard"
            self.stdout.write(f"{line['name']:24}  {line['state']:12}  {heard}  {line['reason']}".rstrip())
        if not rows:
            self.stdout.write("No application is watched. `manage.py watch NAME URL` watches one; docs/watch.md explains it.")

    def _watch(self, options: dict[str, Any]) -> None:
        name, accept, events = options["name"], options["accept"], options["enable_events"]
        row = Application.objects.filter(name=name, kind=Kind.WATCHED).first()
        changes_nothing = options["key_prefix"] is None and accept is None and events is None
        url = _url(options["url"], ask=row is None or (changes_nothing and not options["test"]))
        changes = Watch(
            url=url, key_prefix=options["key_prefix"], serializers=None if accept is None else accept.split(","),
            enables_events=None if events is None else events == "yes",
        )  # fmt: skip
        if options["test"]:
            self._test(row, changes)
        if url is None and changes_nothing:
            self.stdout.write(f"The broker of {name} can be used.")
            return
        # This process may have another secret key than engines.
        row, is_new = watch(name, changes, sealed_here)
        if options["json"]:
            self.stdout.write(json.dumps(_described(row)))
        elif is_new:
            self.stdout.write(f"{name} is watched from now on; its page is /applications/{name}/.")
        else:
            self.stdout.write(f"{name} was changed; its observer connects again within seconds.")

    def _test(self, row: Application | None, changes: Watch) -> None:
        prefix = changes.key_prefix if changes.key_prefix is not None else row.key_prefix if row else ""
        serializers = tuple(changes.serializers or (serializers_of(row) if row else ("json",)))
        if changes.url is not None:
            reason = why_unreachable(Broker(check_url(changes.url), prefix, serializers))
        elif row is None or not row.broker:
            raise CommandError("There is no URL to test: the application is not watched.", returncode=NOTHING)
        else:
            reason = _why_stored(row, prefix, serializers)
        if reason:
            raise CommandError(f"The broker cannot be watched: {reason}. Nothing was changed.", returncode=NOTHING)

    def _remove(self, options: dict[str, Any]) -> None:
        told = removal(options["name"])
        if options["dry_run"]:
            self.stdout.write("\n".join(told.lines("Would be")))
            return
        if not options["yes"]:
            self.stdout.write("\n".join(told.lines("To be")))
            if not sys.stdin.isatty():
                raise CommandError("add --yes to skip the confirmation", returncode=WRONG)
            if input(f"Type the name {told.name} to stop watching it: ").strip() != told.name:
                raise CommandError("nothing was removed", returncode=NOTHING)
        self.stdout.write("\n".join(remove(told.name).lines("Was")))


def configured(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and URLs in ZENITH_WATCH, `URL` or `NAME=URL` between white space; the name is empty if there is none."""
    for item in text.split():
        named = _NAMED.fullmatch(item)
        yield (named[1], named[2]) if named else ("", item)


def _why_stored(row: Application, prefix: str, serializers: tuple[str, ...]) -> str:
    """Return why the broker of a watched application cannot be used: tried by an engine if its URL cannot be read here."""
    try:
        return why_unreachable(Broker(broker_of(row).url, prefix, serializers))
    except BrokerUnknownError:
        return connection_tests.ask(row, None, prefix, serializers)


def _url(given: str | None, *, ask: bool) -> str | None:
    """Return the broker's URL from where it was given: argument, stdin, variable, or a question if it is needed."""
    if given == "-":
        return sys.stdin.readline().strip()
    if given:
        return given
    if value := os.environ.get(VARIABLE, "").strip():
        return value
    if ask and sys.stdin.isatty():
        return getpass.getpass("The broker's URL (not shown): ").strip()
    if ask:
        raise CommandError(
            f"The broker's URL is missing: set {VARIABLE}, or give it, or `-` to read it from stdin.", returncode=WRONG
        )
    return None


def _described(row: Application) -> dict[str, Any]:
    """Return a watched application for people and programs; nothing of its URL."""
    state = observer_state.read(row.name)
    reason = state.reason if state else "" if row.broker else "it is not watched any more"
    return {
        "name": row.name, "state": "listening" if state and state.listens else "not listening", "reason": reason,
        "last_heard_at": row.last_heard_at.isoformat() if row.last_heard_at else None, "enables_events": row.enables_events,
        "serializers": row.serializers.split(","), "key_prefix": row.key_prefix,
        "events": state.events if state else 0, "lost": state.lost if state else 0,
    }  # fmt: skip
