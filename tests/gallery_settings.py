"""The settings of the tests, for a site that also has tests/gallery.py."""

from tests.settings import *  # noqa: F403
from tests.settings import BASE_DIR, TEMPLATES

ROOT_URLCONF = "tests.gallery"
TEMPLATES[0]["DIRS"] = [BASE_DIR / "tests" / "templates", *TEMPLATES[0]["DIRS"]]
