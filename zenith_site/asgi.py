"""The ASGI entry point that daphne serves."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
# Tells the settings, which are read in the next call, that connections to PostgreSQL come from a pool.
os.environ.setdefault("ZENITH_PROCESS", "web")

application = get_asgi_application()
