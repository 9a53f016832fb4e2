"""What a raw token opens."""

from __future__ import annotations

from zenith_site.auth.tokens import find_token
from zenith_site.models import ApiToken


def authenticate_token(raw: str) -> ApiToken | None:
    """Return the token, with its user, if it is valid now."""
    token, why = find_token(raw)
    return None if why else token
