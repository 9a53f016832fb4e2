"""The Prometheus metrics of tasks, workers and queues: counters of outcomes, and gauges of the current state."""

from tasks_app.metrics import applications, outcomes, state
from zenith_site.metrics.sources import register

register("outcomes", outcomes.outcomes)
register("tasks", state.tasks)
register("workers", state.workers)
register("queues", state.queues)
register("recording", state.recording)
register("applications", applications.applications)
