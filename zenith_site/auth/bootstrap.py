"""Creates the first admin and the API key that `manage.py up` prints. Idempotent."""

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import transaction

from zenith_site.auth.tokens import identity, new_raw, revoke
from zenith_site.embedded.state import ensure_secret, read_secret, write_private
from zenith_site.models import ApiToken, Scope

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: The name of the one token that follows ZENITH_API_KEY.
_TOKEN_NAME: Final = "ZENITH_API_KEY"  # noqa: S105 -- the variable's name, not its value
_PASSWORD_FILE: Final = "admin_password"  # noqa: S105
_KEY_FILE: Final = "api_key"


@transaction.atomic
def ensure_admin() -> tuple[str, str | None, str]:
    """Make sure that there is a superuser with an API key; return name, password and key.

    The password is None if it was configured, or was changed since Zenith generated it.
    Raises CommandError if the first admin's name is taken by another user.
    """
    user = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if user is None:
        user = _create_admin()
    generated = read_secret(settings.ZENITH_DATA_DIR, _PASSWORD_FILE)
    password = generated if generated and user.check_password(generated) else None
    return user.get_username(), password, _ensure_key(user)


def _create_admin() -> "User":
    name = settings.ZENITH_ADMIN_USERNAME
    if get_user_model().objects.filter(username=name).exists():
        raise CommandError(
            f"There is no active superuser, and the user name {name!r} is taken: set "
            "ZENITH_ADMIN_USERNAME to another name, or run `manage.py createsuperuser`."
        )
    password = settings.ZENITH_ADMIN_PASSWORD or ensure_secret(settings.ZENITH_DATA_DIR, _PASSWORD_FILE, size=18)
    return get_user_model().objects.create_superuser(name, password=password)


def _ensure_key(user: "User") -> str:
    """Make the configured or generated key the only one of this name."""
    raw = settings.ZENITH_API_KEY or _generated_key()
    fields = identity(raw)
    managed = ApiToken.objects.filter(name=_TOKEN_NAME)
    managed.exclude(hash=fields["hash"]).delete()
    # This start makes only the configured key valid again, not the tokens that were made with it before it was revoked.
    revoke(ApiToken.objects.filter(hash=fields["hash"], revoked_at__isnull=False))
    ApiToken.objects.update_or_create(
        hash=fields["hash"],
        defaults={"revoked_at": None, "expires_at": None, "scopes": Scope.values},
        create_defaults={"user": user, "name": _TOKEN_NAME, "scopes": Scope.values, **fields},
    )
    return raw


def _generated_key() -> str:
    """Return the key in the data directory; a new one if there is none or it was revoked."""
    stored_key = read_secret(settings.ZENITH_DATA_DIR, _KEY_FILE)
    if stored_key and not _is_revoked(stored_key):
        return stored_key
    directory = settings.ZENITH_DATA_DIR / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / _KEY_FILE, new_raw() + "\n", replace=bool(stored_key))
    return read_secret(settings.ZENITH_DATA_DIR, _KEY_FILE)


def _is_revoked(raw: str) -> bool:
    return ApiToken.objects.filter(hash=identity(raw)["hash"], revoked_at__isnull=False).exists()
