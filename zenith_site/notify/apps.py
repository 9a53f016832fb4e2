"""Notifications as a Django app of their own: their tables, their command."""

from django.apps import AppConfig


class NotifyConfig(AppConfig):
    """What people are told of."""

    name = "zenith_site.notify"
    label = "notify"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Have old notifications pruned with the rest."""
        from zenith_site.common import retention
        from zenith_site.notify import inbox

        bounds = "that ended before ZENITH_NOTIFICATION_DAYS, or beyond ZENITH_NOTIFICATION_MAX"
        retention.register("notifications", bounds, inbox.prune, inbox.count_prunable)
