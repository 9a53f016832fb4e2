"""The settings of the tests: Zenith's own, with what would only make tests slow taken out."""

from zenith_site.settings import *  # noqa: F403
from zenith_site.settings import STATIC_ROOT

# The real hasher takes a fifth of a second for every login.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# No collectstatic before the tests: files are served from where they lie.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
# WhiteNoise warns in every test where there is none.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
