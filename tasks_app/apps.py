"""The application's configuration."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Tasks from intent to outcome."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Connect the signal handlers: they must be there in every process that sends or runs tasks. Keep requests' keys."""
        from tasks_app.dispatch import idempotency  # these need the models
        from tasks_app.tracking import signals  # noqa: F401
        from zenith_site.common import once

        once.fill(idempotency.once)
