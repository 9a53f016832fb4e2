"""The banner that `manage.py up` prints once everything is up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Login:
    """What `manage.py prepare` reports about the first admin; the password only if Zenith generated it."""

    username: str
    password: str | None
    api_key: str
    empty: bool


def banner(url: str, login: Login) -> list[str]:
    """Return the lines of the banner."""
    rows = [
        ("Zenith is up", url),
        ("user", login.username),
        ("password", login.password or "the one you set"),
        ("API key", login.api_key),
        ("try", f"curl -X POST -H 'X-API-Key: {login.api_key}' {url}/tasks/trigger"),
        ("stop", "Ctrl-C"),
    ]
    return ["", *(f"  {label:<14}{value}" for label, value in rows), ""]
