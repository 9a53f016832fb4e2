"""What every page may take at most: queries, and bytes of HTML. bench/pages.py measures the same over a million tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from tasks_app import catalog
from tasks_app.models.task_keys import keys_meant
from tests.browser.registry import PAGES, PageCase
from tests.browser.sample import Sample, filled
from tests.database import Emptying

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django import DjangoAssertNumQueries
    from pytest_django.fixtures import SettingsWrapper

# The data stays for the module: these tests only read.
pytestmark = pytest.mark.django_db

MOST_QUERIES = 12
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def sample(module_database: Emptying) -> Iterator[Sample]:
    yield from filled(module_database)


@pytest.fixture
def client(admin: User, settings: SettingsWrapper) -> Client:
    """An administrator, who sees most, at a site that also has the gallery."""
    from tests.gallery_settings import TEMPLATES

    settings.ROOT_URLCONF = "tests.gallery"
    settings.TEMPLATES = TEMPLATES
    client = Client(headers={"Accept": "text/html"}, raise_request_exception=False)
    client.force_login(admin)
    return client


@pytest.mark.parametrize("case", PAGES, ids=lambda case: case.name)
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["whole", "fragments"])
def test_a_page_takes_few_queries_and_is_light(
    case: PageCase, headers: dict[str, str], sample: Sample, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    path = case.path(sample)
    # The names of applications and what workers told, which a process reads every few seconds and not for each page.
    keys_meant("")
    catalog.entries()
    with django_assert_max_num_queries(MOST_QUERIES):
        answer = client.get(path, headers=headers)
    assert answer.status_code == case.status
    assert len(answer.content) <= MOST_BYTES
