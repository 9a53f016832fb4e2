"""Zenith's peers: Celery alone, and Celery with the tracking that people use today."""
