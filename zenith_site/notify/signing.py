"""Signing what a webhook sends, as Standard Webhooks 1.0 (standardwebhooks.com) has it."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

#: What a secret in base64 begins with.
PREFIX: Final = "whsec_"
#: Bytes that a key has at least.
SHORTEST: Final = 16
ACCEPTED_SECRET: Final = f"at least {SHORTEST} characters, such as `openssl rand -hex 32` prints, or {PREFIX} and base64"


def signature(secret: str, message_id: str, moment: int, body: bytes) -> str:
    """Return what proves that a body comes from who knows the secret.

    Args:
        secret: text as it is, or `whsec_` and base64.
        moment: Unix time in seconds, at which this attempt is made.
    """
    signed = f"{message_id}.{moment}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def is_signing_secret(secret: str) -> bool:
    """Whether a secret can be used, and is long enough not to be guessed."""
    try:
        return len(_key(secret)) >= SHORTEST
    except binascii.Error:
        return False


def _key(secret: str) -> bytes:
    """Return the key's bytes. Raises binascii.Error for what should be base64 and is not."""
    if secret.startswith(PREFIX):
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()
