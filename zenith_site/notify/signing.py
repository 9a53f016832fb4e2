"""Signatures of webhook messages, according to Standard Webhooks 1.0 (standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

#: The prefix of a secret in base64.
PREFIX: Final = "whsec_"
#: Bytes of a key at least.
SHORTEST: Final = 16
ACCEPTED_SECRET: Final = f"at least {SHORTEST} characters, such as `openssl rand -hex 32` prints, or {PREFIX} and base64"


def signature(secret: str, message_id: str, moment: int, body: bytes) -> str:
    """Return the signature of a message.

    Args:
        secret: plain text, or `whsec_` and base64.
        moment: the time of this attempt, as Unix time in seconds.
    """
    signed = f"{message_id}.{moment}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def is_signing_secret(secret: str) -> bool:
    """Whether a secret is valid and long enough not to be guessed."""
    try:
        return len(_key(secret)) >= SHORTEST
    except binascii.Error:
        return False


def _key(secret: str) -> bytes:
    """Return the key's bytes. Raises binascii.Error if it should be base64 but is not."""
    if secret.startswith(PREFIX):
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()
