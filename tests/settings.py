"""The settings of the tests: Zenith's own, with what would only make tests slow taken out."""

import os

from zenith_site.settings import *  # noqa: F403
from zenith_site.settings import DATABASES, STATIC_ROOT

# The real hasher takes a fifth of a second for every login.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# No collectstatic before the tests: files are served from where they lie.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
# Files are found when they are asked for: every test client has a middleware of its own, which else would look at all of them.
WHITENOISE_AUTOREFRESH = True
# WhiteNoise warns in every test where there is none.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)

# tests/servers.py names a database that is migrated already.
if template := os.environ.get("TESTS_TEMPLATE"):
    DATABASES["default"]["TEST"] = {"TEMPLATE": template}
