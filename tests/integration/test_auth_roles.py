"""Roles and scopes: what each may, that both must agree, and that making the groups again changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client, RequestFactory

from zenith_site.auth.permissions import OWN_TOKENS, ROLES, ensure_roles
from zenith_site.auth.tokens import caller_for, create_token
from zenith_site.common.callers import ADMINISTER, DISPATCH, INFRA, OPERATE, SCOPES, VIEW, Caller, authorize, scope_of
from zenith_site.env import Rate
from zenith_site.models import ApiToken, Scope

ALL = (VIEW, DISPATCH, OPERATE, INFRA, ADMINISTER)
MAY = {"viewer": {VIEW}, "operator": {VIEW, DISPATCH, OPERATE}, "admin": set(ALL)}


def person(role: str) -> User:
    user = User.objects.create_user(role, password="a long enough one", is_staff=role == "admin")
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_what_the_table_says(db: None, role: str) -> None:
    caller = Caller.person(person(role))
    assert {permission for permission in ALL if caller.may(permission)} == MAY[role]


def test_every_permission_of_a_role_exists(db: None) -> None:
    for role, names in ROLES.items():
        found = Group.objects.get(name=role).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in found} == set(names)


def test_making_them_again_adds_what_is_lacking_and_takes_nothing_away(db: None) -> None:
    group = Group.objects.get(name="operator")
    extra = Permission.objects.get(codename="view_taskresult")
    group.permissions.set([extra])
    for _ in range(2):
        call_command("migrate", verbosity=0)
        ensure_roles()
    assert group.permissions.count() == len(ROLES["operator"]) + 1
    assert Group.objects.count() == len(ROLES)


def test_who_is_in_no_group_may_look_and_manage_their_own_tokens(member: User) -> None:
    caller = Caller.person(member)
    assert [permission for permission in (*ALL, OWN_TOKENS) if caller.may(permission)] == [VIEW, OWN_TOKENS]


def test_each_scope_stands_for_one_permission() -> None:
    assert tuple(SCOPES) == tuple(Scope.values)
    assert tuple(SCOPES.values()) == ALL
    assert [scope_of(permission) for permission in ALL] == Scope.values


@pytest.mark.parametrize("permission", ["auth.change_user", "tasks_app.nothing", OWN_TOKENS])
def test_what_no_scope_names_takes_the_scope_admin(permission: str) -> None:
    assert scope_of(permission) == "admin"


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("scope", Scope.values)
def test_a_token_may_what_its_user_may_and_its_scope_covers(db: None, role: str, scope: str) -> None:
    caller = caller_for(create_token(person(role), "t", [scope])[0])
    assert {permission for permission in ALL if caller.may(permission)} == MAY[role] & {SCOPES[scope]}


def test_a_superusers_token_is_limited_too(admin: User) -> None:
    request: Any = RequestFactory().get("/")
    request.auth = caller_for(create_token(admin, "t", ["read"])[0])
    assert authorize(request, VIEW) is request.auth
    with pytest.raises(PermissionDenied, match="lacks the scope 'dispatch'"):
        authorize(request, DISPATCH)


def test_the_method_does_not_matter(admin: User) -> None:
    raw = create_token(admin, "t", ["dispatch"])[1]
    assert Client(headers={"X-API-Key": raw}).get("/tasks/all").status_code == 403


@pytest.mark.parametrize(("text", "rate"), [("", None), ("100/m", Rate(100, 60))])
def test_a_token_brings_its_own_rate_limit(admin: User, text: str, rate: Rate | None) -> None:
    assert caller_for(create_token(admin, "t", ["dispatch"], rate_limit=text)[0]).rate_limit == rate


# --- The admin's pages: nobody makes themselves a superuser -------------------------------------------------------------


@pytest.fixture
def manager(db: None) -> Client:
    client = Client()
    client.force_login(person("admin"))
    return client


def test_an_admin_cannot_make_a_superuser(manager: Client, member: User) -> None:
    form = {"username": "member", "is_active": "on", "is_superuser": "on", "is_staff": "on", "date_joined_0": "2030-01-01",
            "date_joined_1": "00:00:00", "user_permissions": [Permission.objects.all()[0].pk],
            "application_limit-TOTAL_FORMS": "0", "application_limit-INITIAL_FORMS": "0"}  # fmt: skip
    assert manager.post(f"/admin/auth/user/{member.pk}/change/", form).status_code == 302
    member.refresh_from_db()
    assert member.is_staff
    assert not member.is_superuser
    assert not member.user_permissions.exists()


def test_an_admin_cannot_touch_a_superuser(manager: Client, admin: User) -> None:
    page = f"/admin/auth/user/{admin.pk}"
    for path in ("change", "password", "delete"):
        response = manager.post(f"{page}/{path}/", {"post": "yes", "password1": "another one 1", "password2": "another one 1"})
        assert response.status_code == 403, path
    manager.post("/admin/auth/user/", {"action": "delete_selected", "_selected_action": [admin.pk], "post": "yes"})
    admin.refresh_from_db()
    assert admin.check_password("a long enough one")


def test_an_admin_cannot_make_a_token_for_a_superuser_or_touch_theirs(manager: Client, admin: User) -> None:
    token, _ = create_token(admin, "theirs", ["read"])
    form = {"name": "x", "user": admin.pk, "scopes": ["admin"], "expires_at_0": "", "expires_at_1": ""}
    assert manager.post("/admin/zenith_site/apitoken/add/", form).status_code == 200
    assert manager.post(f"/admin/zenith_site/apitoken/{token.pk}/change/", form).status_code == 302
    manager.post("/admin/zenith_site/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert (token.name, token.revoked_at, ApiToken.objects.count()) == ("theirs", None, 1)


# --- Tokens from before the scopes were split ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_write_becomes_dispatch_and_operate() -> None:
    executor = MigrationExecutor(connection)
    try:
        old: Any = executor.migrate([("zenith_site", "0001_initial")]).apps
        user = old.get_model("auth", "User").objects.create(username="ada")
        tokens = old.get_model("zenith_site", "ApiToken").objects
        for index, scopes in enumerate((["read"], ["write"], ["read", "write"])):
            tokens.create(user=user, name=str(index), hash=str(index), scopes=scopes)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    found = dict(ApiToken.objects.values_list("name", "scopes"))
    assert found == {"0": ["read"], "1": ["dispatch", "operate"], "2": ["read", "dispatch", "operate"]}
