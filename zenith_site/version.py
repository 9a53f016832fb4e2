"""Zenith's version, as the API tells it; CHANGELOG.md says what changed."""

from typing import Final

VERSION: Final = "0.1.0"
