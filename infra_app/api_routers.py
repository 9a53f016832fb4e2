"""Register the API routers of nodes, groups and hosts."""

from infra_app.api import groups, hosts, nodes, original
from zenith_site.common.api_routers import register

register(
    ("", original.router),
    ("/api/v1/nodes", nodes.router),
    ("/api/v1/groups", groups.router),
    ("/api/v1/hosts", hosts.router),
)
