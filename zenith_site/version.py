"""Zenith's version, as the API reports it; CHANGELOG.md lists the changes."""

from typing import Final

VERSION: Final = "0.1.0"
#: The distribution that pyproject.toml builds.
DISTRIBUTION: Final = "zenith-celery"
