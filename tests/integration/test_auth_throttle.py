"""The login's throttle: after five failures a growing delay, for an account and for an address alike."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from zenith_site.auth import throttle
from zenith_site.auth.address import client_address
from zenith_site.models import AuditEntry

RIGHT, WRONG = "a long enough one", "a wrong one"
HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def fresh(db: None) -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    for key in throttle.client().scan_iter("zenith:login:*"):
        throttle.client().delete(key)


def login(name: str, password: str = WRONG, address: str = "192.0.2.1") -> Any:
    return Client(headers=HTML).post("/login/", {"username": name, "password": password}, REMOTE_ADDR=address)


def pass_time(account: str, address: str) -> int:
    """Let the delays of both end; return the longer one in seconds."""
    waits = [throttle.count_attempt(account, address)]
    for key in throttle._keys(account, address):
        throttle.client().hdel(key, "until")
    return max(waits)


def test_after_five_failures_even_the_right_password_waits(admin: User) -> None:
    assert [login("root").status_code for _ in range(5)] == [200] * 5
    refused = login("root", RIGHT)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 10
    assert f"Try again in {refused.headers['Retry-After']} seconds" in refused.content.decode()
    assert "sessionid" not in refused.cookies


def test_programs_get_a_problem(admin: User) -> None:
    for _ in range(5):
        login("root")
    response = Client().post("/login/", {"username": "root", "password": RIGHT}, REMOTE_ADDR="192.0.2.1")
    assert (response.status_code, response.headers["Content-Type"]) == (429, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0


def test_the_delay_grows_up_to_a_quarter_of_an_hour() -> None:
    assert [throttle.count_attempt("root", "192.0.2.1") for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(9):
        waits.append(pass_time("root", "192.0.2.1"))
        assert throttle.count_attempt("root", "192.0.2.1") == 0
    for wait, delay in zip(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900], strict=True):
        assert delay - 5 < wait <= delay


def test_it_is_counted_per_account_from_wherever(admin: User) -> None:
    for number in range(5):
        login("root", address=f"192.0.2.{number}")
    assert login("root", RIGHT, address="198.51.100.1").status_code == 429
    assert login("Root", address="198.51.100.2").status_code == 429


def test_it_is_counted_per_address_for_whomever(admin: User) -> None:
    for number in range(5):
        login(f"guess{number}")
    assert login("root", RIGHT).status_code == 429
    assert login("root", RIGHT, address="198.51.100.1").status_code == 302


def test_of_ipv6_the_network_counts() -> None:
    for number in range(5):
        assert throttle.count_attempt(f"guess{number}", f"2001:db8::{number:x}") == 0
    assert throttle.count_attempt("root", "2001:db8::ffff") > 0
    assert throttle.count_attempt("root", "2001:db8:0:1::1") == 0


def test_an_account_that_does_not_exist_gets_the_same_answers(admin: User) -> None:
    def answers(name: str, address: str) -> list[tuple[int, str]]:
        found = []
        for _ in range(6):
            response = login(name, address=address)
            notes = response.content.decode().split('id="login-error"')[1].split("</div>")[0].split('role="alert"')[1]
            found.append((response.status_code, re.sub(r"[0-9]+", "N", notes)))
        return found

    assert answers("root", "192.0.2.1") == answers("nobody", "192.0.2.2")


def test_a_password_is_hashed_for_nobody_too(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    original = User.set_password
    monkeypatch.setattr(User, "set_password", lambda self, raw: (hashed.append(raw), original(self, raw)))
    login("nobody", "guess")
    assert hashed == ["guess"]


def test_a_success_forgets_the_accounts_failures_and_costs_the_address_nothing(admin: User) -> None:
    for _ in range(3):
        assert [login("root").status_code for _ in range(1)] == [200]
        for _ in range(6):
            assert login("root", RIGHT).status_code == 302
        forget_only_the_address()
    assert throttle.client().exists(throttle._keys("root", "192.0.2.1")[0]) == 0


def forget_only_the_address() -> None:
    key = throttle._keys("root", "192.0.2.1")[1]
    assert throttle.client().hget(key, "failures") == b"1"
    throttle.client().delete(key)


def test_a_form_that_is_not_filled_in_is_not_counted(admin: User) -> None:
    assert [login("root", "").status_code for _ in range(10)] == [200] * 10
    assert login("root", RIGHT).status_code == 302


def test_of_many_at_once_five_are_looked_at() -> None:
    ready = threading.Barrier(20)

    def one(_: int) -> int:
        ready.wait(10)
        return throttle.count_attempt("root", "192.0.2.1")

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(one, range(20)))[:6].count(0) == 5


def test_failures_are_forgotten_in_time() -> None:
    throttle.count_attempt("root", "192.0.2.1")
    for key in throttle._keys("root", "192.0.2.1"):
        assert 0 < throttle.client().pttl(key) <= throttle.REMEMBERED


def test_without_redis_nobody_gets_in(admin: User, redis_away: None) -> None:
    client = Client(headers=HTML, raise_request_exception=False)
    response = client.post("/login/", {"username": "root", "password": RIGHT})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert b"Not available right now" in response.content
    assert "sessionid" not in response.cookies


def test_what_was_typed_for_a_name_is_kept_only_where_it_is_one(admin: User) -> None:
    login("root")
    login("my secret, typed into the wrong field")
    entries = AuditEntry.objects.filter(action="login failed").order_by("id")
    assert [(entry.username, entry.address) for entry in entries] == [("root", "192.0.2.1"), ("", "192.0.2.1")]
    assert "secret" not in str(entries.values())


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "198.51.100.9", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (1, "198.51.100.9", "198.51.100.9"),
        (1, "203.0.113.1, 198.51.100.9", "198.51.100.9"),
        (2, "203.0.113.1, 198.51.100.9", "203.0.113.1"),
        (2, "198.51.100.9", "198.51.100.9"),
        (1, "somebody", None),
        (1, "::ffff:198.51.100.9", "198.51.100.9"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "2001:DB8::1", "2001:db8::1"),
    ],
)
def test_an_address_is_told_only_by_the_proxies_that_are_trusted(
    settings: Any, proxies: int, forwarded: str | None, expected: str | None
) -> None:
    settings.ZENITH_TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR="192.0.2.1")) == expected


def test_over_a_socket_file_there_is_no_address() -> None:
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="")) is None
    assert throttle.count_attempt("root", None) == 0


# --- Where one changes one's own password ---


def change(client: Client, old: str = WRONG, address: str = "192.0.2.1", **headers: str) -> Any:
    new = {"new_password1": "another good one", "new_password2": "another good one"}
    return client.post("/settings/password/", {"old_password": old, **new}, REMOTE_ADDR=address, headers=headers)


@pytest.fixture
def person(admin: User) -> Client:
    client = Client(headers=HTML)
    client.force_login(admin)
    return client


def test_after_five_wrong_current_passwords_even_the_right_one_waits(person: Client, admin: User) -> None:
    assert [change(person).status_code for _ in range(5)] == [422] * 5
    refused = change(person, RIGHT)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 10
    assert f"Try again in {refused.headers['Retry-After']} seconds" in refused.content.decode()
    admin.refresh_from_db()
    assert admin.check_password(RIGHT)


def test_in_a_dialog_the_form_comes_again_with_the_reason(person: Client) -> None:
    for _ in range(5):
        change(person)
    refused = change(person, **{"HX-Request": "true"})
    assert refused.status_code == 429
    assert 'id="ask"' in refused.content.decode()
    assert "Try again in" in refused.content.decode()


def test_login_and_change_of_password_count_together(person: Client) -> None:
    for _ in range(3):
        login("root")
    for number in range(2):
        change(person, address=f"198.51.100.{number}")
    assert change(person, RIGHT, address="198.51.100.9").status_code == 429
    assert login("root", RIGHT, address="198.51.100.8").status_code == 429


def test_the_right_current_password_forgets_what_was_counted(person: Client) -> None:
    for _ in range(4):
        change(person)
    # It is the right one, whatever is wrong with the new one.
    short = {"old_password": RIGHT, "new_password1": "x", "new_password2": "x"}
    assert person.post("/settings/password/", short, REMOTE_ADDR="192.0.2.1").status_code == 422
    # Of the address only its own count was taken back.
    assert [change(person, address="198.51.100.7").status_code for _ in range(5)] == [422] * 5


def test_a_wrong_current_password_is_in_the_audit_log_and_not_what_was_typed(person: Client) -> None:
    change(person, "my-other-secret")
    entry = AuditEntry.objects.get(action="password change failed")
    assert (entry.username, entry.address) == ("root", "192.0.2.1")
    assert "my-other-secret" not in str(AuditEntry.objects.values())


def test_the_admin_has_no_second_form_for_it(person: Client) -> None:
    for response in (person.get("/admin/password_change/"), person.post("/admin/password_change/", {"old_password": WRONG})):
        assert (response.status_code, response.headers["Location"]) == (302, "/settings/password/")


def test_without_redis_nobody_tries_a_password(person: Client, redis_away: None, admin: User) -> None:
    person.raise_request_exception = False
    assert change(person, RIGHT).status_code == 503
    admin.refresh_from_db()
    assert admin.check_password(RIGHT)
