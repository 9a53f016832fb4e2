"""The application's configuration."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Tasks from intent to outcome."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Configure Redis, register the store of idempotency keys, and connect the handlers of Celery's signals."""
        from celery.signals import celeryd_init
        from django.conf import settings

        from tasks_app.dispatch import idempotency  # it needs the models
        from tasks_app.maintenance import answers
        from tasks_app.queries import application_names
        from zenith_site.common.application_names import register_names
        from zenith_site.common.engine_secrets import register_seal
        from zenith_site.common.idempotency import register_key_store

        # What Celery's signals add travels with the messages that any process sends.
        from zenith_worker import signals  # noqa: F401
        from zenith_worker.wire import client, questions

        client.configure(settings.ZENITH_REDIS_URL)
        register_key_store(idempotency.run_once)
        register_names(application_names.all_names)
        register_seal(_seal_for_engines)
        questions.answer_here(answers.answer)
        # A worker has no database.
        celeryd_init.connect(lambda **_: questions.answer_here(None), weak=False)


def _seal_for_engines(text: str, purpose: str) -> str:
    # Imported late: workers, which seal nothing, need neither the driver of brokers nor `cryptography`.
    from tasks_app.watching.engine_key import seal_for_engines

    return seal_for_engines(text, purpose)
