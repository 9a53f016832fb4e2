"""The tasks' part of the JSON API."""

from tasks_app.api import (
    analytics,
    applications,
    batches,
    catalogue,
    dead_letters,
    events,
    queues,
    tasks,
    v1_tasks,
    watching,
    workers,
    workflows,
)
from zenith_site.common.api_routers import register

register(
    ("", tasks.router),
    ("", analytics.stats_router),
    ("/api/v1/tasks", v1_tasks.router),
    ("/api/v1/batches", batches.router),
    ("/api/v1/workflows", workflows.router),
    ("/api/v1/dead-letters", dead_letters.router),
    ("/api/v1/catalogue", catalogue.router),
    ("/api/v1/analytics", analytics.router),
    ("/api/v1/workers", workers.router),
    ("/api/v1/queues", queues.router),
    # Before the other router of this path, in which names may hold slashes.
    ("/api/v1/applications", watching.router),
    ("/api/v1/applications", applications.router),
    ("/api/v1/events", events.router),
)
