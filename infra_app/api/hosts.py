"""`/api/v1/hosts`: the Docker hosts, and what people say of them."""

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
    """What to change of a host; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cordoned": True, "region": "eu-1", "labels": {"disk": "ssd"}}]})

    cordoned: bool | None = Field(default=None, description="Whether it takes no new nodes.")
    region: Region | None = None
    labels: Labels | None = Field(default=None, description="All labels: one that is left out is gone.")


class ForgetAnswer(BaseModel):
    """What went with a host."""

    host: str
    removed: list[str] = Field(description="The names of its nodes, which count as removed.")
    replaced: int = Field(description="Nodes that were made in their place, to run elsewhere.")


@router.get("", response=list[HostAnswer], summary="List Docker hosts", operation_id="list_hosts")
def list_hosts(request: HttpRequest) -> list[HostAnswer]:
    """Return every host whose agent ever came, by name."""
    authorize(request, VIEW)
    return [HostAnswer.of(host, host.node_count) for host in hosts.with_counts()]  # type: ignore[attr-defined]


@router.get("/{name:name}", response=HostAnswer, summary="Show one Docker host", operation_id="show_host")
def show_host(request: HttpRequest, name: str) -> HostAnswer:
    """Return the host of this name."""
    authorize(request, VIEW)
    return _found(name)


@router.patch(
    "/{name:name}", response=HostAnswer, summary="Change a Docker host", operation_id="change_host", auth=requires(INFRA)
)
def change_host(request: HttpRequest, name: str, body: HostRequest) -> HostAnswer:
    """Cordon it, or change its region or labels. Nodes that run on it stay; drain them to have it empty."""
    hosts.change(_host(name), HostChanges(cordoned=body.cordoned, region=body.region, labels=body.labels))
    audit_details(request, host=name, **body.model_dump(exclude_none=True))
    return _found(name)


@router.delete(
    "/{name:name}", response=ForgetAnswer, summary="Forget a Docker host", operation_id="forget_host", auth=requires(INFRA)
)
def forget_host(request: HttpRequest, name: str) -> ForgetAnswer:
    """Count a host that does not come back as gone: its nodes count as removed, and those that were wanted are made elsewhere.

    409 where its agent lives, or a group may run on it only.
    """
    caller = known_caller(request)
    loss = forgetting.forget(_host(name), caller.name)
    audit_details(request, host=name, nodes=len(loss.removed), replaced=loss.replaced)
    return ForgetAnswer(host=name, removed=loss.removed, replaced=loss.replaced)


def _found(name: str) -> HostAnswer:
    host = _host(name)
    return HostAnswer.of(host, host.node_count)  # type: ignore[attr-defined]


def _host(name: str) -> Host:
    host = hosts.with_counts().filter(name=name).first() if "\0" not in name else None
    if host is None:
        raise Http404(f"There is no host {name[:100]!r}.")
    return host
