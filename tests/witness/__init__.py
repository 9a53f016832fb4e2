"""Celery's and kombu's own integration suites, run against Zenith's worker and transport: a witness that nobody here wrote."""
