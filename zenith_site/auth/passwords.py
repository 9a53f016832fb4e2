"""Changing one's own password. The form asks for the current one, so it is a place to guess passwords.

It shares the login's throttle, so that a stolen session gains no further attempts. The admin has no such form of its own, and
nothing else in Zenith takes a password: programs use tokens.
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
    """Checks the current password only if the throttle allows it.

    Attributes:
        wait: seconds until the next attempt; 0 if this one was checked.
    """

    wait = 0

    def __init__(self, request: HttpRequest, user: "User", data: Any = None) -> None:
        super().__init__(user, data)
        self.request = request

    def clean_old_password(self) -> str:
        """Return the current password. Raises ValidationError, or redis.RedisError."""
        account, address = self.user.get_username(), client_address(self.request)
        self.wait = throttle.count_attempt(account, address)
        if self.wait:
            refuse(self.request, throttle.REASON)
            raise ValidationError(throttle.retry_message(self.wait), code="throttled")
        try:
            password: str = super().clean_old_password()
        except ValidationError:
            audit.write("password change failed", user=self.user, request=self.request)
            raise
        throttle.record_success(account, address)
        return password
