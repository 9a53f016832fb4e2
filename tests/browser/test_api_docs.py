"""`/docs` in a real browser: it needs nothing from elsewhere, and breaks no rule of the content security policy."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import Site, Visitor, Watch

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_documentation_lists_every_operation(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = visitor.logged_in("docs")
    page.locator(".opblock").first.wait_for()
    described = page.evaluate("fetch('/openapi.json').then(answer => answer.json())")
    operations = sum(len(methods) for methods in described["paths"].values())
    page.wait_for_function("count => document.querySelectorAll('.opblock').length >= count", arg=operations)
    assert page.evaluate("violations") == []
    assert watch.hosts == {urlsplit(site.url).netloc}
