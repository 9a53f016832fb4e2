"""What people set on hosts: cordon, region and labels. A host's agent writes everything else."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from infra_app.models import Host
from infra_app.states import NodeStatus
from infra_app.validation import label_problems, region_problems
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.live_updates import refresh_pages


@dataclass(frozen=True, slots=True, kw_only=True)
class HostChanges:
    """What to change on a host; None leaves a value unchanged."""

    cordoned: bool | None = None
    region: str | None = None
    labels: Mapping[str, str] | None = None


def change(host: Host, changes: HostChanges) -> None:
    """Change a host. Nodes that already run stay where they are. Raises InvalidInputError."""
    problems = [*region_problems(changes.region or ""), *label_problems(changes.labels or {}, "/labels")]
    if problems:
        raise InvalidInputError(*problems)
    values = {"cordoned": changes.cordoned, "region": changes.region, "labels": changes.labels}
    changed_values = {name: value for name, value in values.items() if value is not None}
    if changed_values:
        Host.objects.filter(pk=host.pk).update(**changed_values)
        host.refresh_from_db()
        transaction.on_commit(lambda: refresh_pages("nodes"))


def with_counts() -> QuerySet[Host]:
    """Return the hosts by name, each with `node_count`, the nodes on it that are not removed."""
    node_count = Count("nodes", filter=~Q(nodes__status=NodeStatus.REMOVED))
    return Host.objects.annotate(node_count=node_count).order_by("name")
