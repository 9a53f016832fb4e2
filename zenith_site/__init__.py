"""The ground under both apps: settings, ASGI, Celery, URLs, authentication, `up`.

The Celery application is not imported here, as in Django's first steps with Celery, but once the apps are ready: what only
needs the settings, such as a container's health check every 20 seconds, would spend half of its time on Celery's imports.
"""

import sys
from pathlib import Path

# A wheel has its own zenith_worker inside this package, so that it shares no file with the distribution zenith-worker. That one
# comes first: what both write and read has to be of one version. A clone has it beside this package.
_bundled = Path(__file__).parent / "_bundled"
if _bundled.is_dir():
    # Without what daphne puts in front: the directory may be an application's, with a celery.py of its own.
    sys.path[:] = [str(_bundled), *(place for place in sys.path if place != ".")]
