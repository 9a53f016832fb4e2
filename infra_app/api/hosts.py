"""`/api/v1/hosts`: Docker hosts, and what people set on them."""

from django.http import Http404, HttpRequest
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from infra_app import forgetting, hosts
from infra_app.api.schemas import Body, HostAnswer, Labels, Region
from infra_app.hosts import HostChanges
from infra_app.models import Host
from zenith_site.auth.api import requires
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize, known_caller

router = Router(tags=["nodes"])


class HostRequest(Body):
    """What to change on a host. Members that are omitted stay unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cordoned": True, "region": "eu-1", "labels": {"disk": "ssd"}}]})

    cordoned: bool | None = Field(default=None, description="Whether no new nodes are placed on it.")
    region: Region | None = None
    labels: Labels | None = Field(default=None, description="The complete set: labels that are omitted are removed.")


class ForgetAnswer(BaseModel):
    """The effect of forgetting a host."""

    host: str
    removed: list[str] = Field(description="The names of its nodes, which now count as removed.")
    replaced: int = Field(description="How many replacement nodes were created, to run on other hosts.")


@router.get("", response=list[HostAnswer], summary="List Docker hosts", operation_id="list_hosts")
def list_hosts(request: HttpRequest) -> list[HostAnswer]:
    """Return every host whose agent ever registered, ordered by name."""
    authorize(request, VIEW)
    return [HostAnswer.of(host, host.node_count) for host in hosts.with_counts()]  # type: ignore[attr-defined]


@router.get("/{name:name}", response=HostAnswer, summary="Show one Docker host", operation_id="show_host")
def show_host(request: HttpRequest, name: str) -> HostAnswer:
    """Return the host with this name."""
    authorize(request, VIEW)
    return _host_answer(name)


@router.patch(
    "/{name:name}", response=HostAnswer, summary="Change a Docker host", operation_id="change_host", auth=requires(INFRA)
)
def change_host(request: HttpRequest, name: str, body: HostRequest) -> HostAnswer:
    """Cordon a host, or change its region or labels. Nodes that run on it stay; drain them to empty the host."""
    hosts.change(_get_host(name), HostChanges(cordoned=body.cordoned, region=body.region, labels=body.labels))
    audit_details(request, host=name, **body.model_dump(exclude_none=True))
    return _host_answer(name)


@router.delete(
    "/{name:name}", response=ForgetAnswer, summary="Forget a Docker host", operation_id="forget_host", auth=requires(INFRA)
)
def forget_host(request: HttpRequest, name: str) -> ForgetAnswer:
    """Forget a host that does not come back. Its nodes count as removed; running ones are replaced on other hosts.

    409 if its agent is online, or if a group may run on this host only.
    """
    caller = known_caller(request)
    loss = forgetting.forget(_get_host(name), caller.name)
    audit_details(request, host=name, nodes=len(loss.removed), replaced=loss.replaced)
    return ForgetAnswer(host=name, removed=loss.removed, replaced=loss.replaced)


def _host_answer(name: str) -> HostAnswer:
    host = _get_host(name)
    return HostAnswer.of(host, host.node_count)  # type: ignore[attr-defined]


def _get_host(name: str) -> Host:
    host = hosts.with_counts().filter(name=name).first() if "\0" not in name else None
    if host is None:
        raise Http404(f"There is no host {name[:100]!r}.")
    return host
