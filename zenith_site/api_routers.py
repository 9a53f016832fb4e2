"""The site's own part of the JSON API."""

from zenith_site import health
from zenith_site.auth import audit_api, token_api
from zenith_site.common.api_routers import register
from zenith_site.notify import api as notifications
from zenith_site.notify import rule_api

register(
    ("", health.router),
    ("/api/v1/audit-entries", audit_api.router),
    ("/api/v1/notifications", notifications.router),
    ("/api/v1/notification-channels", rule_api.channels_router),
    ("/api/v1/notification-rules", rule_api.router),
    ("/api/v1/tokens", token_api.router),
)
