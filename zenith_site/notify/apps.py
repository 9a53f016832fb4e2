"""The Django app of notifications: their tables and their command."""

from django.apps import AppConfig


class NotifyConfig(AppConfig):
    """The app's configuration."""

    name = "zenith_site.notify"
    label = "notify"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Register old notifications for pruning."""
        from zenith_site.common import retention
        from zenith_site.notify import inbox

        bounds = "that ended before ZENITH_NOTIFICATION_DAYS, or beyond ZENITH_NOTIFICATION_MAX"
        retention.register("notifications", bounds, inbox.prune, inbox.count_prunable)
