"""Links shared by several pages and by notifications, which know a worker or a queue only by its name."""

from urllib.parse import urlencode

from django.urls import reverse

from tasks_app.search.parser import quoted


def tasks_with(key: str, name: str) -> str:
    """Return the URL of the tasks whose `key`, a term of the search language, is this name; of all tasks if the name is blank."""
    query = urlencode({"q": f"{key}:{quoted(name)}"}) if name.strip() else ""
    return f"{reverse('tasks:list')}?{query}".removesuffix("?")
