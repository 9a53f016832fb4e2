"""`manage.py notify`: which channels are set and what they get; with `--test`, whether a message arrives."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from zenith_site.notify import channels
from zenith_site.notify.channels import SendError
from zenith_site.notify.kinds import Channel
from zenith_site.notify.messages import TEST, OutgoingMessage


class Command(BaseCommand):
    """Show the channels, or try them."""

    help = "Show which channels notifications go out through and what each gets; with --test, send a message through them now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what to try, and how to print."""
        parser.add_argument(
            "--test", action="store_true", help="send a test message; the exit status is 1 where one does not arrive"
        )
        parser.add_argument(
            "--channel", action="append", choices=list(Channel), metavar="CHANNEL",
            help=f"this channel only; may be repeated: {', '.join(Channel)}",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, test: bool, channel: list[str] | None, json: bool, **options: Any) -> None:
        """Print a line for each channel."""
        chosen = [Channel(name) for name in channel] if channel else list(Channel)
        usable = channels.configured()
        if test:
            self._refuse_unset(channel, chosen, usable)
        rows = [_row(name, name in usable, test) for name in chosen if name in usable or not test]
        self._print(rows, json)
        if any(row.get("error") for row in rows):
            raise SystemExit(1)

    def _refuse_unset(self, named: list[str] | None, chosen: list[Channel], usable: list[Channel]) -> None:
        unset = [name for name in chosen if name not in usable]
        if unset and (named or not usable):
            settings_ = ", ".join(channels.ADDRESSES[name] for name in unset)
            raise CommandError(f"Nothing was sent: not set {'is' if len(unset) == 1 else 'are'} {settings_}.")

    def _print(self, rows: list[dict[str, Any]], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for row in rows:
            if "error" not in row:
                said = f"gets {row['gets']}" if row["set"] else f"not set ({channels.ADDRESSES[Channel(row['channel'])]})"
            else:
                said = f"failed: {row['error']}" if row["error"] else "sent"
            self.stdout.write(f"{row['channel']:<8} {said}")


def _row(channel: Channel, is_set: bool, test: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "channel": channel.value, "set": is_set, "gets": str(settings.ZENITH_NOTIFY_ROUTES[channel]) if is_set else None,
    }  # fmt: skip
    if test:
        row["error"] = _try(channel)
    return row


def _try(channel: Channel) -> str | None:
    """Send a test message; return why it did not arrive, None where it did."""
    try:
        channels.send(channel, OutgoingMessage(uuid4(), TEST, []))
    except SendError as error:
        return str(error)
    return None
