"""The login page; the admin has no other."""

from http import HTTPStatus
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpResponse

from zenith_site.auth import throttle
from zenith_site.auth.address import client_address
from zenith_site.common.callers import refuse


class ThrottledLoginForm(AuthenticationForm):
    """Checks the password only if the throttle allows it.

    Attributes:
        wait: seconds until the next attempt; 0 if this one was checked.
    """

    wait = 0

    def clean(self) -> dict[str, Any]:
        """Return the name and password of a valid login. Raises ValidationError, or redis.RedisError."""
        account = self.cleaned_data.get("username")
        if account is None or not self.cleaned_data.get("password"):
            return super().clean()
        address = client_address(self.request)
        self.wait = throttle.count_attempt(account, address)
        if self.wait:
            if self.request is not None:
                refuse(self.request, throttle.REASON)
            raise ValidationError(throttle.retry_message(self.wait), code="throttled")
        cleaned = super().clean()
        throttle.record_success(account, address)
        return cleaned


class ThrottledLoginView(LoginView):
    """Answers throttled logins with 429."""

    form_class = ThrottledLoginForm
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Show the form again with its errors."""
        response = super().form_invalid(form)
        wait = getattr(form, "wait", 0)
        if wait:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response.headers["Retry-After"] = str(wait)
        return response
