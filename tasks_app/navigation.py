"""The pages of tasks, workers and queues."""

from zenith_site.common.callers import Shows
from zenith_site.common.navigation import Entry, Section, register

register(
    Entry("tasks:overview", "Overview", "layout-dashboard", "o", Section.WORK, 10, shows=Shows.FILTERED),
    Entry("tasks:list", "Tasks", "list-details", "t", Section.WORK, 20),
    Entry("tasks:workflows", "Workflows", "sitemap", "f", Section.WORK, 25),
    Entry("tasks:dispatch", "Dispatch", "send", "d", Section.WORK, 30),
    Entry("tasks:dead_letters", "Dead letters", "skull", "l", Section.WORK, 40),
    Entry("tasks:analytics", "Analytics", "chart-line", "a", Section.WORK, 50),
    Entry("tasks:workers", "Workers", "cpu", "w", Section.MACHINES, 10),
    Entry("tasks:queues", "Queues", "stack-2", "q", Section.MACHINES, 20),
    Entry("tasks:applications", "Applications", "link", "c", Section.MACHINES, 25),
    Entry("tasks:events", "Events", "activity", "e", Section.SITE, 10),
)
