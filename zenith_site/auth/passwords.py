"""Changing one's own password: the current one is asked for, so this is a place where passwords can be tried.

It shares the login's throttle, so that a session which somebody else has got hold of gains no further tries. The admin has no
form of its own for it, and nothing else in Zenith takes a password: programs bring tokens.
"""

from typing import TYPE_CHECKING, Any

from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from zenith_site.auth import audit, throttle
from zenith_site.auth.address import client_address
from zenith_site.common.callers import refuse

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class ThrottledPasswordChangeForm(PasswordChangeForm["User"] if TYPE_CHECKING else PasswordChangeForm):  # type: ignore[misc]
    """Looks at the current password only when the throttle lets it.

    Attributes:
        wait: seconds until the next attempt; 0 where this one was looked at.
    """

    wait = 0

    def __init__(self, request: HttpRequest, user: "User", data: Any = None) -> None:
        super().__init__(user, data)
        self.request = request

    def clean_old_password(self) -> str:
        """Return the current password. Raises ValidationError, or redis.RedisError."""
        account, address = self.user.get_username(), client_address(self.request)
        self.wait = throttle.attempt(account, address)
        if self.wait:
            refuse(self.request, throttle.WHY)
            raise ValidationError(throttle.come_again(self.wait), code="throttled")
        try:
            password: str = super().clean_old_password()
        except ValidationError:
            audit.write("password change failed", user=self.user, request=self.request)
            raise
        throttle.succeeded(account, address)
        return password
