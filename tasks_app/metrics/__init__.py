"""What Prometheus reads of tasks, workers and queues: counters of what ended, and how things stand."""

from tasks_app.metrics import outcomes, state
from zenith_site.metrics.sources import register

register("outcomes", outcomes.outcomes)
register("tasks", state.tasks)
register("workers", state.workers)
register("queues", state.queues)
register("recording", state.recording)
