"""The engine's loops for notifications."""

from zenith_site.common import engine
from zenith_site.notify import outbox, watch

engine.register("notifications", watch.run)
engine.register("outbox", outbox.run)
