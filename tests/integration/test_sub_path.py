"""A site below a path, `https://localhost/zenith/`, behind a real nginx that ends TLS: pages, files, forms, API, sockets."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import websockets.sync.client
from django.contrib.auth.models import User

from tasks_app.models import Task
from tests import stack as stacks
from tests.processes import free_port
from tests.proxy import nginx
from zenith_site.auth.tokens import create_token

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = "/zenith"
PASSWORD = "a long enough one"
PAGES = (
    "/", "/tasks/", "/dispatch/", "/workers/", "/queues/", "/events/", "/dead-letters/", "/analytics/", "/nodes/", "/inventory/",
    "/network/", "/notifications/", "/settings/", "/docs", "/admin/", "/no/such/page",
)  # fmt: skip
LINKS = re.compile(rb"""\b(?:href|src|action|formaction|data-socket|data-login-url|hx-(?:get|post))=["'](/[^"']*)""")


@dataclass
class Site:
    """Where the site is, and how it is called from outside."""

    url: str
    port: int
    direct: str
    trust: ssl.SSLContext

    def client(self, **headers: str) -> httpx.Client:
        """Return a client that trusts the proxy's certificate."""
        return httpx.Client(verify=self.trust, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def module_site(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[stacks.Stack, Site]]:
    directory: Path = tmp_path_factory.mktemp("site")
    port, web = free_port(), free_port()
    url = f"https://localhost:{port}{ROOT}"
    for stack in stacks.running(directory, ZENITH_PUBLIC_URL=url, ZENITH_HTTPS="true", ZENITH_RATE_LIMIT="100/1s"):
        stack.web(web)
        with nginx(directory, port, web, ROOT) as trust:
            yield stack, Site(url, port, f"http://127.0.0.1:{web}", trust)


@pytest.fixture
def site(module_site: tuple[stacks.Stack, Site], transactional_db: None) -> Iterator[Site]:
    yield module_site[1]
    print(module_site[0].news())  # noqa: T201 (pytest shows it for a failed test only)


@pytest.fixture
def browser(site: Site) -> Iterator[httpx.Client]:
    """Somebody who logged in by the form, as an administrator."""
    User.objects.create_superuser("ann", password=PASSWORD)
    with site.client(Accept="text/html") as client:
        asked = client.get(f"{site.url}/", follow_redirects=True)
        assert asked.url.path == f"{ROOT}/login/"
        post(client, f"{site.url}/login/", next=f"{ROOT}/", username="ann", password=PASSWORD)
        yield client


def post(client: httpx.Client, url: str, **fields: str) -> httpx.Response:
    """Send a form as a browser does; return where it leads."""
    fields["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
    origin = re.match(r"https://[^/]+", url)
    assert origin
    answer = client.post(url, data=fields, headers={"Origin": origin[0], "Referer": url}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer


def test_every_link_of_every_page_stays_below_the_path_and_leads_somewhere(site: Site, browser: httpx.Client) -> None:
    followed: set[str] = set()
    for page in PAGES:
        answer = browser.get(site.url + page, follow_redirects=True)
        assert answer.status_code == (404 if "no/such" in page else 200), page
        assert answer.url.path.startswith(f"{ROOT}/"), page
        links = {link.decode() for link in LINKS.findall(answer.content)}
        assert links, page
        strays = {link for link in links if not f"{link}/".startswith(f"{ROOT}/")}
        assert not strays, page
        followed |= {link.partition("#")[0].replace("&amp;", "&") for link in links}
    lost = {
        link
        for link in followed
        if "/ws/" not in link and "logout" not in link and browser.get(f"https://localhost:{site.port}{link}").status_code == 404
    }
    assert not lost


def test_without_its_last_slash_the_path_leads_to_the_overview(site: Site, browser: httpx.Client) -> None:
    answer = browser.get(f"{site.direct}{ROOT}", headers={"X-Forwarded-Proto": "https"})
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{ROOT}/")


def test_the_navigation_marks_the_page_alone(site: Site, browser: httpx.Client) -> None:
    for path in ("/", "/tasks/", "/nodes/deploy/"):
        nav = browser.get(site.url + path).text.partition('<nav class="nav"')[2].partition("</nav>")[0]
        assert nav.count("aria-current") == 1, path


def test_cookies_are_for_the_path_alone(browser: httpx.Client) -> None:
    assert {(cookie.name, cookie.path) for cookie in browser.cookies.jar} == {
        ("csrftoken", f"{ROOT}/"),
        ("sessionid", f"{ROOT}/"),
    }


def test_a_form_dispatches_and_leads_back(site: Site, browser: httpx.Client) -> None:
    answer = post(browser, f"{site.url}/run/")
    assert Task.objects.count() == 10
    assert answer.url.path == f"{ROOT}/"


def test_an_open_page_is_told_what_changed_over_its_socket(site: Site, browser: httpx.Client) -> None:
    page = browser.get(f"{site.url}/tasks/").text
    found = re.search(r'data-socket="([^"]+)"', page)
    assert found
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
    address = f"wss://localhost:{site.port}{found[1].strip().replace('&amp;', '&')}"
    origin = websockets.Origin(f"https://localhost:{site.port}")
    with websockets.sync.client.connect(address, ssl=site.trust, origin=origin, additional_headers={"Cookie": cookies}) as socket:
        token = create_token(User.objects.get(), "t", ["read", "dispatch"])[1]
        with site.client(**{"X-API-Key": token}) as program:
            asked = program.post(f"{site.url}/api/v1/tasks", json={"dispatches": [{"data": "x"}]})
        assert asked.status_code == 201, asked.text
        assert "tasks" in str(socket.recv(timeout=30))


def test_rows_that_the_overview_is_sent_link_below_the_path(site: Site, browser: httpx.Client) -> None:
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
    origin = websockets.Origin(f"https://localhost:{site.port}")
    address = f"wss://localhost:{site.port}{ROOT}/ws/page/overview"
    with websockets.sync.client.connect(address, ssl=site.trust, origin=origin, additional_headers={"Cookie": cookies}) as socket:
        post(browser, f"{site.url}/run/")
        task = Task.objects.first()
        assert task
        while f"/tasks/{task.pk}" not in (frame := str(socket.recv(timeout=30))):
            pass
        assert f'"{ROOT}/tasks/{task.pk}' in frame


def test_a_proxy_that_takes_the_path_off_is_served_alike(site: Site) -> None:
    token = create_token(User.objects.create_superuser("ann"), "t", ["read", "dispatch"])[1]
    with site.client(**{"X-API-Key": token}) as program:
        program.post(f"{site.url}/api/v1/tasks", json={"dispatches": [{"count": 2}]})
        listed = program.get(f"https://localhost:{site.port}/stripped{ROOT}/api/v1/tasks?limit=1")
        described = program.get(f"{site.url}/openapi.json").json()
    assert len(listed.json()) == 1
    assert listed.links["next"]["url"].startswith(f"{site.url}/api/v1/tasks?")
    assert f"{ROOT}/api/v1/tasks" in described["paths"]


@pytest.mark.parametrize("path", ["/health", f"{ROOT}/health", "/ready", "/metrics"])
def test_what_probes_ask_for_needs_neither_path_nor_tls(site: Site, path: str) -> None:
    assert httpx.get(site.direct + path).status_code in {200, 503}
