"""Links that several pages have, and notifications, which know a worker or a queue by its name only."""

from urllib.parse import urlencode

from django.urls import reverse

from tasks_app.search.parser import quoted


def tasks_with(key: str, name: str) -> str:
    """Return the address of the tasks whose `key`, one of the search language, is this name; of all where it is blank."""
    query = urlencode({"q": f"{key}:{quoted(name)}"}) if name.strip() else ""
    return f"{reverse('tasks:list')}?{query}".removesuffix("?")
