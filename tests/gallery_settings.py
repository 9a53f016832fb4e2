"""The settings of the tests, for a site that also has tests/gallery.py."""

from tests import settings as base
from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.gallery"
_templates = base.BASE_DIR / "tests" / "templates"
TEMPLATES = [{**engine, "DIRS": [_templates, *engine["DIRS"]]} for engine in base.TEMPLATES]
