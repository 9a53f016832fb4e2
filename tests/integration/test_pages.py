"""How pages answer: whole, in fragments, with a question, with what came of an action; and the navigation."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tasks_app.models.task_keys import keys_meant
from tasks_app.queries import feed
from tasks_app.web.templatetags import zenith
from zenith_worker.wire.states import Status

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django import DjangoAssertNumQueries
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "Accept": "text/html"}


@pytest.fixture
def client(admin: User, settings: SettingsWrapper) -> Client:
    """An administrator at a site that also has the gallery."""
    from tests.gallery_settings import TEMPLATES

    settings.ROOT_URLCONF = "tests.gallery"
    settings.TEMPLATES = TEMPLATES
    client = Client(headers={"Accept": "text/html"})
    client.force_login(admin)
    return client


@pytest.fixture
def task_url(client: Client) -> str:
    done = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api"))
    return f"/tasks/{done.ids[0]}/"


# --- Fragments ---


def test_htmx_gets_the_fragments_alone(client: Client, task_url: str) -> None:
    whole = client.get(task_url)
    part = client.get(task_url, headers=HTMX)
    assert "<html" in whole.text
    assert "hx-swap-oob" not in whole.text.partition('id="task"')[2]
    assert "<html" not in part.text
    assert part.text.lstrip().startswith("<article")
    assert 'hx-swap-oob="true"' in part.text
    assert "HX-Request" in whole.headers["Vary"]
    assert part.headers["Cache-Control"] == "no-store"


def test_the_page_that_back_leads_to_is_whole(client: Client, task_url: str) -> None:
    answer = client.get(task_url, headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert "<html" in answer.text


def test_a_page_that_asks_again_hears_that_nothing_changed(client: Client, task_url: str) -> None:
    # Of a task that is open, the time it has waited so far is on the page.
    Task.objects.update(status=Status.REVOKED, finished_at=timezone.now())
    first = client.get(task_url, headers=HTMX)
    again = client.get(task_url, headers={**HTMX, "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


def test_a_page_comes_compressed_to_whom_takes_it(client: Client, task_url: str) -> None:
    answer = client.get(task_url, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "<html" in gzip.decompress(answer.content).decode()
    assert "Content-Encoding" not in client.get(task_url).headers


def test_what_came_compressed_need_not_come_again(client: Client) -> None:
    compressed = {**HTMX, "Accept-Encoding": "gzip"}
    first = client.get("/gallery/", headers=compressed)
    again = client.get("/gallery/", headers={**compressed, "If-None-Match": first.headers["ETag"]})
    assert first.headers["Content-Encoding"] == "gzip"
    assert again.status_code == 304


def test_what_changed_is_said(client: Client, task_url: str) -> None:
    first = client.get(task_url, headers=HTMX)
    Task.objects.update(worker="w1@somewhere")
    again = client.get(task_url, headers={**HTMX, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200
    assert "w1@somewhere" in again.text


def test_neither_a_token_nor_the_wording_of_a_time_is_a_change(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api"))
    first = client.get("/gallery/", headers=HTMX)
    monkeypatch.setattr(zenith, "whole_duration", lambda seconds: "an hour")
    monkeypatch.setattr(zenith, "ago", lambda moment: "long ago")
    again = client.get("/gallery/", headers={**HTMX, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_two_questions_with_their_own_tokens_have_one_etag(client: Client) -> None:
    one, other = (client.get("/gallery/confirm/?id=1", headers=HTMX) for _ in range(2))
    assert one.text != other.text
    assert one.headers["ETag"] == other.headers["ETag"]


def test_a_live_page_carries_the_newest_event_from_before_it_was_read(client: Client, task_url: str) -> None:
    before = feed.newest_id()
    assert before > 0
    assert f'data-after="{before}"' in client.get(task_url).text


def test_the_page_of_a_task_takes_few_queries(
    client: Client, task_url: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    keys_meant("any")  # the applications' names, which each process reads every few seconds
    with django_assert_max_num_queries(8):
        client.get(task_url)


# --- Questions and answers ---


def test_a_question_is_a_page_or_a_fragment(client: Client) -> None:
    page, part = client.get("/gallery/confirm/?id=1&id=2"), client.get("/gallery/confirm/?id=1&id=2", headers=HTMX)
    for answer in (page, part):
        assert "2 tasks will not run." in answer.text
        assert answer.text.count('name="id"') == 2
        assert 'action="/gallery/cancel/"' in answer.text
    assert "<html" in page.text
    assert "<html" not in part.text


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("", "/gallery/"),
        ("/gallery/?status=FAILURE", "/gallery/?status=FAILURE"),
        ("https://evil.example/", "/gallery/"),
        ("//evil.example/", "/gallery/"),
        ("javascript:alert(1)", "/gallery/"),
    ],
)
def test_an_action_leads_back_to_where_it_started_and_nowhere_else(client: Client, wanted: str, leads_to: str) -> None:
    assert client.post("/gallery/cancel/", {"next": wanted}).headers["Location"] == leads_to
    question = client.get("/gallery/confirm/", {"id": "1", "next": wanted}).text
    assert f'name="next" value="{leads_to}"' in question


def test_an_action_answers_an_open_page_with_toasts_and_news(client: Client) -> None:
    answer = client.post("/gallery/cancel/", {"id": ["1", "2"]}, headers=HTMX)
    assert answer.headers["HX-Trigger"] == "zenith:changed"
    assert "2 tasks cancelled." in answer.text
    assert 'hx-swap-oob="beforeend"' in answer.text


def test_a_question_about_nothing_is_not_asked(client: Client) -> None:
    answer = client.get("/gallery/confirm/", follow=True)
    assert "No task was selected." in answer.text


# --- The frame ---


def test_every_entry_of_the_navigation_leads_to_a_page(client: Client) -> None:
    navigation = client.get("/").text.partition('<nav class="nav"')[2].partition("</nav>")[0]
    links = re.findall(r'href="([^"]+)"', navigation)
    assert {"/", "/nodes/", "/inventory/", "/network/", "/docs"} <= set(links)
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


def test_only_staff_sees_the_admin(client: Client, member: User) -> None:
    assert 'href="/admin/"' in client.get("/").text
    client.force_login(member)
    assert 'href="/admin/"' not in client.get("/").text


def test_a_column_sorts_down_first_and_up_next(client: Client) -> None:
    dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api"))
    page = client.get("/gallery/?q=drill&cursor=9").text
    assert 'href="?q=drill&amp;sort=-name"' in page
    assert 'aria-sort="descending"><a class="sort" href="?q=drill&amp;sort=created"' in page
    page = client.get("/gallery/?q=drill&sort=-name").text
    assert 'aria-sort="descending"><a class="sort" href="?q=drill&amp;sort=name"' in page
    page = client.get("/gallery/?q=drill&sort=name").text
    assert 'aria-sort="ascending"><a class="sort" href="?q=drill&amp;sort=-name"' in page


@pytest.mark.parametrize(
    ("path", "status", "sentence"), [("/nowhere/", 404, "Page not found"), ("/broken/", 500, "Something went wrong")]
)
def test_what_went_wrong_has_a_page(client: Client, path: str, status: int, sentence: str) -> None:
    client.raise_request_exception = False
    answer = client.get(path)
    assert answer.status_code == status
    assert sentence in answer.text
    assert "RuntimeError" not in answer.text


def test_a_form_without_its_token_has_a_page(admin: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Accept": "text/html"})
    client.force_login(admin)
    answer = client.post("/run/")
    assert answer.status_code == 403
    assert "That form has expired" in answer.text


def test_a_page_that_is_not_allowed_says_so(member: User) -> None:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(member)
    answer = client.post("/run/")
    assert answer.status_code == 403
    assert "Not allowed" in answer.text


def test_a_database_that_is_away_is_said_and_not_a_bug(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    from tasks_app.web import views

    def away() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(views, "overview_context", away)
    client.raise_request_exception = False
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Not available right now" in answer.text
