"""The site's own pages."""

from zenith_site.common.callers import Shows
from zenith_site.common.navigation import Entry, Section, register

register(
    Entry("settings", "Settings", "settings", "s", Section.SITE, 20),
    Entry("api:openapi-view", "API docs", "braces", "p", Section.SITE, 30),
    Entry("admin:index", "Admin", "database-cog", "m", Section.SITE, 40, staff=True, shows=Shows.EVERYTHING),
)
