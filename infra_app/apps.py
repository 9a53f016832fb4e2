"""Docker hosts and the worker nodes on them."""

from django.apps import AppConfig


class InfraConfig(AppConfig):
    """Registers the app under the label its tables carry."""

    name = "infra_app"
    label = "infra_app"
    verbose_name = "Infrastructure"

    def ready(self) -> None:
        """Register the lookup of nodes for the pages of tasks and workers."""
        from infra_app import for_workers
        from tasks_app import worker_nodes

        worker_nodes.register(for_workers.of_workers)
