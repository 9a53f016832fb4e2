"""The application's configuration."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Tasks from intent to outcome."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Configure Redis, register the store of idempotency keys, and connect the handlers of Celery's signals."""
        from django.conf import settings

        from tasks_app.dispatch import idempotency  # it needs the models
        from tasks_app.worker_bridge import signals  # noqa: F401
        from zenith_site.common.idempotency import register_key_store
        from zenith_worker.wire import client

        client.configure(settings.ZENITH_REDIS_URL)
        register_key_store(idempotency.run_once)
