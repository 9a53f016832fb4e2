"""Encrypts what must not be readable in the database: AES-256-GCM with a key derived from ZENITH_SECRET_KEY (HKDF, RFC 5869).

What is encrypted is bound to a purpose, so that a value copied into another row cannot be read there.
"""

import base64
import secrets
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

#: What every encrypted value begins with; another way to encrypt gets another one.
_FORM: Final = "v1:"
#: Bytes of a nonce (NIST SP 800-38D); random ones are safe for far more values than a database holds.
_NONCE: Final = 12


class DecryptionError(ValueError):
    """A value was encrypted with another secret key or for another purpose, or was changed since."""


def encrypt(text: str, purpose: str) -> str:
    """Return a text encrypted for a purpose: only `decrypt` with the same purpose and secret key reads it."""
    nonce = secrets.token_bytes(_NONCE)
    return _FORM + base64.urlsafe_b64encode(nonce + _cipher().encrypt(nonce, text.encode(), purpose.encode())).decode()


def decrypt(value: str, purpose: str) -> str:
    """Return the text of an encrypted value. Raises DecryptionError."""
    try:
        raw = base64.urlsafe_b64decode(value.removeprefix(_FORM).encode())
        return _cipher().decrypt(raw[:_NONCE], raw[_NONCE:], purpose.encode()).decode()
    except (InvalidTag, ValueError):
        raise DecryptionError("it was encrypted with another ZENITH_SECRET_KEY") from None


def _cipher() -> AESGCM:
    return AESGCM(_key(settings.SECRET_KEY))


@cache
def _key(secret: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"zenith encryption at rest").derive(secret.encode())
