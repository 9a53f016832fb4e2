"""The JSON API's routers: each app registers its own in `api_routers.py`."""

from typing import Final

from django.utils.module_loading import autodiscover_modules
from ninja import NinjaAPI, Router

_ROUTERS: Final[list[tuple[str, Router]]] = []


def register(*routers: tuple[str, Router]) -> None:
    """Add these routers to the API, each below its prefix."""
    _ROUTERS.extend(routers)


def mount(api: NinjaAPI) -> None:
    """Add the routers of every installed app. The API's description lists them in the order of the apps."""
    autodiscover_modules("api_routers")
    for prefix, router in _ROUTERS:
        api.add_router(prefix, router)
