"""The key for brokers' URLs and channels' addresses: engines have it, and others have its public half, which only writes them.

In Compose and Kubernetes, web has another ZENITH_SECRET_KEY than engines (docs/deploy.md). An engine stores its public key when
it starts; if its secret key has changed, URLs that were entered before must be entered again.
"""

from __future__ import annotations

from django.utils import timezone

from tasks_app.models import EngineKey
from tasks_app.watching.brokers import purpose_of
from zenith_site.common import encryption
from zenith_site.common.errors import StateConflictError

_ROW = 1


class NoEngineError(StateConflictError):
    """No engine has told its public key yet, so nobody could read what is encrypted."""

    def __init__(self) -> None:
        super().__init__(
            "No engine has started with this database yet, and only an engine can read what is entered here. Start one"
            " (`manage.py run_engine`), and try again."
        )


def tell(*, only_if_missing: bool = False) -> None:
    """Store this engine's public key, unless it is stored already. Raises django.db.Error."""
    public = encryption.public_key()
    stored = EngineKey.objects.filter(pk=_ROW).values_list("public", flat=True).first()
    if stored is None or (stored != public and not only_if_missing):
        EngineKey.objects.update_or_create(pk=_ROW, defaults={"public": public, "told_at": timezone.now()})


def seal_for_engines(text: str, purpose: str) -> str:
    """Return a text that only engines can read. Raises NoEngineError."""
    public = EngineKey.objects.filter(pk=_ROW).values_list("public", flat=True).first()
    if public is None:
        raise NoEngineError
    return encryption.seal(text, purpose, public)


def sealed_for_engines(name: str, url: str) -> str:
    """Return the URL of an application's broker so that only engines can read it. Raises NoEngineError."""
    return seal_for_engines(url, purpose_of(name))


def sealed_here(name: str, url: str) -> str:
    """Return the same; if no engine has started yet, so that processes with this one's secret key can read it."""
    try:
        return sealed_for_engines(name, url)
    except NoEngineError:
        return encryption.encrypt(url, purpose_of(name))
