"""Register the engine's loops for nodes."""

from infra_app import autoscaler, upkeep
from zenith_site.common import engine

engine.register("placer", upkeep.run)
engine.register("autoscaler", autoscaler.run)
