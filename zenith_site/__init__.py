"""The roof over both apps: settings, ASGI, Celery, URLs, authentication, `up`."""

from zenith_site.celery import app as celery_app

__all__ = ["celery_app"]
