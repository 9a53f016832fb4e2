"""Paths of pages, with and without the sub path below which a proxy serves the site (`ZENITH_PUBLIC_URL`)."""

from django.conf import settings
from django.urls import get_script_prefix, reverse


def site_root() -> str:
    """Return the sub path, such as `/zenith`; empty if the site has a host of its own."""
    return settings.FORCE_SCRIPT_NAME or ""


def page_path(name: str, *args: object) -> str:
    """Return the path of a page without the sub path: the form for rows and for `public_url()`.

    Whether `reverse()` adds the sub path depends on the thread that calls it.
    """
    return reverse(name, args=args).removeprefix(get_script_prefix().rstrip("/"))
