"""What the engine does for tasks."""

from tasks_app.dispatch import relay, repair, replays
from tasks_app.maintenance import retention, samples
from tasks_app.recording import recorder
from zenith_site.common import engine

engine.register("recorder", recorder.run)
engine.register("relay", relay.run)
engine.register("reconciler", repair.run)
engine.register("replays", replays.run)
engine.register("retention", retention.run)
engine.register("samples", samples.run)
