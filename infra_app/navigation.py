"""Register the navigation entries of nodes, inventory and network."""

from zenith_site.common.callers import Shows
from zenith_site.common.navigation import Entry, Section, register

register(
    Entry("infra:nodes", "Nodes", "server-2", "n", Section.MACHINES, 30, shows=Shows.OWN),
    Entry("infra:inventory", "Inventory", "box", "i", Section.MACHINES, 40, shows=Shows.OWN, tab_of="infra:nodes"),
    Entry("infra:network", "Network", "network", "k", Section.MACHINES, 50, shows=Shows.OWN, tab_of="infra:nodes"),
)
