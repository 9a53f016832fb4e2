"""The URLs of the pages of nodes, hosts, inventory and network."""

from django.urls import path

from infra_app.web import groups, hosts, inventory, network, node, nodes

app_name = "infra"

urlpatterns = [
    path("nodes/", nodes.node_list, name="nodes"),
    path("nodes/deploy/", nodes.deploy, name="deploy"),
    path("nodes/act/<slug:verb>/", nodes.act, name="act"),
    path("nodes/hosts/<name:name>/forget/", hosts.forget, name="forget_host"),
    path("nodes/hosts/<name:name>/", hosts.change, name="host"),
    path("nodes/groups/<uuid:group_id>/", groups.group, name="group"),
    path("nodes/groups/<uuid:group_id>/scale/", groups.scale, name="scale"),
    path("nodes/groups/<uuid:group_id>/change/", groups.change, name="change"),
    path("nodes/groups/<uuid:group_id>/autoscale/", groups.autoscale, name="autoscale"),
    path("nodes/groups/<uuid:group_id>/remove/", groups.remove, name="remove_group"),
    path("nodes/<uuid:node_id>/", node.node, name="node"),
    path("nodes/<uuid:node_id>/log/", node.log, name="log"),
    path("inventory/", inventory.inventory, name="inventory"),
    path("network/", network.network, name="network"),
]
