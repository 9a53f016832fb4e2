"""The site as a Django app: accounts, tokens, health and commands, which both other apps build on."""

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.urls import register_converter


class ZenithSiteConfig(AppConfig):
    """What tasks_app and infra_app build on."""

    name = "zenith_site"
    verbose_name = "Zenith"

    def ready(self) -> None:
        """Connect what must be in place in every process."""
        from zenith_site import celery, orphans, tracing  # noqa: F401 (Celery's application becomes the current one)
        from zenith_site.auth import audit
        from zenith_site.common.names_in_urls import NameConverter

        register_converter(NameConverter, "name")
        orphans.connect()
        audit.connect()
        tracing.connect()
        # Django sends the signal once for each app that has models; after the last one all permissions exist.
        last = [config for config in apps.get_app_configs() if config.models_module is not None][-1]
        post_migrate.connect(_make_roles, sender=last)


def _make_roles(using: str, **_: Any) -> None:
    from zenith_site.auth.permissions import ensure_roles

    ensure_roles(using)
