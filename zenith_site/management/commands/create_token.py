"""`manage.py create_token`: a token for a program, from the command line."""

import json
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from zenith_site.auth import audit
from zenith_site.auth.tokens import create_token
from zenith_site.common.application_names import application_names
from zenith_site.env import ACCEPTED_RATE, parse_rate
from zenith_site.models import ApiToken, Scope


class Command(BaseCommand):
    """Creates a token and prints it, once."""

    help = "Create an API token that acts for USER, and print it. It is not shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("user", metavar="USER", help="the name of an active user")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what the token may do, within USER's permissions; may be repeated (default: read)",
        )
        parser.add_argument("--name", type=_name, default="command line", help="what uses the token")
        parser.add_argument("--expires-days", type=_days, metavar="N", help="days until it expires (default: never)")
        parser.add_argument("--rate-limit", type=_rate, metavar="RATE", help="its own rate limit for triggers, such as 100/60s")
        parser.add_argument(
            "--application",
            action="append",
            metavar="NAME",
            default=[],
            help="an application that the token sees; may be repeated (default: all that USER sees)",
        )
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the token."""
        user = get_user_model().objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.")
        days = options["expires_days"]
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        scopes = options["scope"] or [Scope.READ.value]
        known_names = application_names()
        if unknown := [name for name in options["application"] if name not in known_names]:
            raise CommandError(f"There is no application {unknown[0]!r}; applications are: {', '.join(known_names)}.")
        token, raw = create_token(
            user, options["name"], scopes, expires_at, options["rate_limit"] or "", applications=options["application"]
        )
        detail = {"token": str(token), "user": user.get_username(), "scopes": token.scopes}
        audit.write("create_token", detail={**detail, **({"applications": token.applications} if token.applications else {})})
        if options["json"]:
            self.stdout.write(json.dumps(_described(token, raw)))
        else:
            self.stdout.write(raw)


def _described(token: ApiToken, raw: str) -> dict[str, Any]:
    return {
        "token": raw,
        "name": token.name,
        "user": token.user.get_username(),
        "scopes": token.scopes,
        "applications": token.applications or None,
        "rate_limit": token.rate_limit or None,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
    }


def _name(value: str) -> str:
    if not 1 <= len(value) <= 60 or not value.isprintable():
        raise ArgumentTypeError("it takes 1 to 60 printable characters")
    return value


def _rate(value: str) -> str:
    if parse_rate(value) is None:
        raise ArgumentTypeError(f"{value!r} is not accepted: it takes {ACCEPTED_RATE}")
    return value


def _days(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:6]) <= 36_500:
        raise ArgumentTypeError(f"{value!r} is not accepted: it takes 1 to 36500 days")
    return int(value)
