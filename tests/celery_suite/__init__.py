"""Celery's own integration suite, run against Zenith's worker: one witness that nobody here wrote."""
