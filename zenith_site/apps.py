"""The site as a Django app: it holds what both apps stand under (accounts, tokens, health, commands)."""

from django.apps import AppConfig


class ZenithSiteConfig(AppConfig):
    """The roof over tasks_app and infra_app."""

    name = "zenith_site"
    verbose_name = "Zenith"

    def ready(self) -> None:
        """Connect what must be in place in every process."""
        from zenith_site import orphans

        orphans.connect()
