"""`manage.py notify`: shows the channels and what they get; with `--test`, sends a message."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from zenith_site.notify import channels
from zenith_site.notify.channels import SendError
from zenith_site.notify.destinations import ADDRESSES, environment_destination, of_environment
from zenith_site.notify.kinds import Channel
from zenith_site.notify.messages import TEST, OutgoingMessage


class Command(BaseCommand):
    """Shows the channels, or tests them."""

    help = "Show the channels of notifications and what each gets. With --test, send a test message through them now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--test", action="store_true", help="send a test message; the exit status is 1 if one is not accepted"
        )
        parser.add_argument(
            "--channel", action="append", choices=list(Channel), metavar="CHANNEL",
            help=f"only this channel; may be repeated: {', '.join(Channel)}",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, test: bool, channel: list[str] | None, json: bool, **options: Any) -> None:
        """Print a line for each channel."""
        selected = [Channel(name) for name in channel] if channel else list(Channel)
        configured = [channel.kind for channel in of_environment()]
        if test:
            self._refuse_unset(channel, selected, configured)
        rows = [_row(name, name in configured, test) for name in selected if name in configured or not test]
        self._print(rows, json)
        if any(row.get("error") for row in rows):
            raise SystemExit(1)

    def _refuse_unset(self, named: list[str] | None, selected: list[Channel], configured: list[Channel]) -> None:
        unset = [name for name in selected if name not in configured]
        if unset and (named or not configured):
            settings_ = ", ".join(ADDRESSES[name] for name in unset)
            raise CommandError(f"Nothing was sent: {settings_} {'is' if len(unset) == 1 else 'are'} not set.")

    def _print(self, rows: list[dict[str, Any]], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for row in rows:
            if "error" not in row:
                status = f"gets {row['gets']}" if row["set"] else f"not set ({ADDRESSES[Channel(row['channel'])]})"
            else:
                status = f"failed: {row['error']}" if row["error"] else "sent"
            self.stdout.write(f"{row['channel']:<8} {status}")


def _row(channel: Channel, is_set: bool, test: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "channel": channel.value, "set": is_set, "gets": str(settings.ZENITH_NOTIFY_ROUTES[channel]) if is_set else None,
    }  # fmt: skip
    if test:
        row["error"] = _try(channel)
    return row


def _try(channel: Channel) -> str | None:
    """Send a test message; return why it was not accepted, or None if it was."""
    try:
        channels.send(environment_destination(channel), OutgoingMessage(uuid4(), TEST, []))
    except SendError as error:
        return str(error)
    return None
