"""What people say of hosts: whether they take new nodes, where they are, and their labels. The rest of a host is its agent's."""

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
    """What to change of a host; None leaves it as it is."""

    cordoned: bool | None = None
    region: str | None = None
    labels: Mapping[str, str] | None = None


def change(host: Host, changes: HostChanges) -> None:
    """Change a host; where nodes run already does not change. Raises InvalidInputError."""
    problems = [*region_problems(changes.region or ""), *label_problems(changes.labels or {}, "/labels")]
    if problems:
        raise InvalidInputError(*problems)
    values = {"cordoned": changes.cordoned, "region": changes.region, "labels": changes.labels}
    wanted = {name: value for name, value in values.items() if value is not None}
    if wanted:
        Host.objects.filter(pk=host.pk).update(**wanted)
        host.refresh_from_db()
        transaction.on_commit(lambda: refresh_pages("nodes"))


def with_counts() -> QuerySet[Host]:
    """Return the hosts by name, each with `node_count`, the nodes on it that are not removed."""
    there = Count("nodes", filter=~Q(nodes__status=NodeStatus.REMOVED))
    return Host.objects.annotate(node_count=there).order_by("name")
