"""The engine's loops for tasks."""

from tasks_app.dispatch import reconciler_loop, relay, replay_runner
from tasks_app.maintenance import answers, retention, samples
from tasks_app.recording import log_recorder, recorder
from tasks_app.watching import observers
from zenith_site.common import engine

engine.register("recorder", recorder.run)
engine.register(log_recorder.PART, log_recorder.run)
engine.register("relay", relay.run)
engine.register("reconciler", reconciler_loop.run)
engine.register("replays", replay_runner.run)
engine.register("retention", retention.run)
engine.register("samples", samples.run)
engine.register(answers.PART, answers.run)
engine.register(observers.PART, observers.run)
