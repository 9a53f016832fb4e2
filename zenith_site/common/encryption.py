"""Encrypts what must not be readable in the database, with keys derived from ZENITH_SECRET_KEY (HKDF, RFC 5869).

`encrypt` uses AES-256-GCM: only a process with the same secret key reads it. `seal` uses a public key (HPKE, RFC 9180): only a
process with the secret key that this public key was derived from reads it, also if the one that seals has another secret key.

What is encrypted is bound to a purpose, so that a value copied into another row cannot be read there.
"""

import base64
import secrets
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

#: What every encrypted and every sealed value begins with; another way to encrypt gets another one.
_FORM: Final = "v1:"
_SEALED: Final = "v2:"
#: Bytes of a nonce (NIST SP 800-38D); random ones are safe for far more values than a database holds.
_NONCE: Final = 12


class DecryptionError(ValueError):
    """A value was encrypted with another secret key or for another purpose, or was changed since."""


def encrypt(text: str, purpose: str) -> str:
    """Return a text encrypted for a purpose: only `decrypt` with the same purpose and secret key reads it."""
    nonce = secrets.token_bytes(_NONCE)
    return _FORM + base64.urlsafe_b64encode(nonce + _cipher().encrypt(nonce, text.encode(), purpose.encode())).decode()


def decrypt(value: str, purpose: str) -> str:
    """Return the text of an encrypted or sealed value. Raises DecryptionError."""
    try:
        if value.startswith(_SEALED):
            raw = base64.urlsafe_b64decode(value.removeprefix(_SEALED).encode())
            return _SUITE.decrypt(raw, _private_key(settings.SECRET_KEY), info=purpose.encode()).decode()
        raw = base64.urlsafe_b64decode(value.removeprefix(_FORM).encode())
        return _cipher().decrypt(raw[:_NONCE], raw[_NONCE:], purpose.encode()).decode()
    except (InvalidTag, ValueError):
        raise DecryptionError("it was encrypted with another ZENITH_SECRET_KEY") from None


def public_key() -> str:
    """Return the public key that belongs to this process's secret key, for `seal`."""
    return base64.urlsafe_b64encode(_private_key(settings.SECRET_KEY).public_key().public_bytes_raw()).decode()


def seal(text: str, purpose: str, public: str) -> str:
    """Return a text encrypted for a purpose: only a process with the secret key that `public` belongs to can `decrypt` it.

    Raises ValueError for what is no public key.
    """
    key = X25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(public.encode()))
    return _SEALED + base64.urlsafe_b64encode(_SUITE.encrypt(text.encode(), key, info=purpose.encode())).decode()


_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _cipher() -> AESGCM:
    return AESGCM(_derived(settings.SECRET_KEY, b"zenith encryption at rest"))


def _private_key(secret: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derived(secret, b"zenith sealed values"))


@cache
def _derived(secret: str, use: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=use).derive(secret.encode())
