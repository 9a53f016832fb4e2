"""What runs inside a Celery worker: claiming, running and reporting tasks.

It imports neither Django nor anything else of this repository. `wire/` is what workers and servers share.
"""
