"""Make an application known before it first reports, with a Redis user of its own."""

from __future__ import annotations

import redis
from django.db import transaction

from tasks_app.maintenance import application_users
from tasks_app.models import Application
from tasks_app.models.application import Kind
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_worker.wire.applications import NATIVE_NAME, is_name


def add(name: str) -> str:
    """Make an application's row and its Redis user, or renew the user; return the URL that its processes need.

    Raises InvalidInputError for a name that cannot be, or if Zenith's own Redis user may not make others, and redis.RedisError.
    """
    if not is_name(name):
        reason = f"a name has at most 50 lower-case letters, digits, and hyphens between them, and is not {NATIVE_NAME}"
        raise InvalidInputError(Problem("name", reason))
    with transaction.atomic():
        row, _ = Application.objects.select_for_update().get_or_create(name=name, defaults={"kind": Kind.ATTACHED})
        try:
            application_users.grant(name)
        except redis.ResponseError as error:
            raise InvalidInputError(Problem("name", f"Redis does not let Zenith make its user: {error}")) from error
        row.isolated = True
        row.save(update_fields=["isolated"])
    return application_users.url(name)
