"""Docker hosts and the worker nodes on them."""

from django.apps import AppConfig


class InfraConfig(AppConfig):
    """Registers the app under the label its tables carry."""

    name = "infra_app"
    label = "infra_app"
    verbose_name = "Infrastructure"
