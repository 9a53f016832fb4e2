"""The loops of the engine: each app registers its own in `engine_loops.py`, and `manage.py run_engine` runs them."""

from functools import cache
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.common.loops import Loop

_LOOPS: Final[dict[str, Loop]] = {}


def register(name: str, loop: Loop) -> None:
    """Register a loop for `run_engine`, whose `--only` takes its name."""
    _LOOPS[name] = loop


@cache
def loops() -> dict[str, Loop]:
    """Return all loops by name. The first call imports every app's `engine_loops.py`."""
    autodiscover_modules("engine_loops")
    return _LOOPS
