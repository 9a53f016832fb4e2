"""Somebody's Django project, which queues its mail with the public package django-yubin: it knows nothing of Zenith."""

from clinic.celery import app

__all__ = ["app"]
