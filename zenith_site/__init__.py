"""The ground under both apps: settings, ASGI, Celery, URLs, authentication, `up`.

The Celery application is not imported here, as in Django's first steps with Celery, but once the apps are ready: what only
needs the settings, such as a container's health check every 20 seconds, would spend half of its time on Celery's imports.
"""
