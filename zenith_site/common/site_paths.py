"""Paths of pages, with and without the sub path that a proxy serves the site below (`ZENITH_PUBLIC_URL`)."""

from django.conf import settings
from django.urls import get_script_prefix, reverse


def site_root() -> str:
    """Return the sub path, such as `/zenith`; empty where the site has a host of its own."""
    return settings.FORCE_SCRIPT_NAME or ""


def page_path(name: str, *args: object) -> str:
    """Return the path of a page below the site's root, as rows keep it and `public_url()` takes it.

    `reverse()` puts the sub path before it or does not, depending on the thread in which it is called.
    """
    return reverse(name, args=args).removeprefix(get_script_prefix().rstrip("/"))
