"""Take in what applications' workers can run: a row for each set of tasks that a worker online has.

Idempotent: any number of engines may do this at once. A heartbeat names a catalogue by its digest; its tasks are read, checked
and stored when the digest is first seen (catalog/advertised.py). One application that writes nonsense stops no other.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.db import connection, transaction

from tasks_app.catalog import advertised
from tasks_app.models import Application, Catalogue
from zenith_site.common.faults import isolate_faults
from zenith_site.common.sql import statements
from zenith_worker.wire import catalogues
from zenith_worker.wire.heartbeat import read_all

#: Seconds by which `last_seen_at` may be behind, so that it is not written at every look.
SEEN_EVERY: Final = 10.0
#: Catalogues of one application that count at once; a rolling deploy has two or three.
LIVE_AT_MOST: Final = 10
#: Catalogues of one application that are read and checked in one pass.
READ_AT_ONCE: Final = 3
#: Seconds after which a catalogue that no worker has is removed, and how many an application keeps at most.
KEPT: Final = 86_400.0
KEPT_AT_MOST: Final = 20
#: Catalogues of one application that Redis may hold before those that no worker has are removed.
WRITTEN_AT_MOST: Final = 10

_DIGEST: Final = re.compile(r"[0-9A-Za-z]{1,64}")
_SQL: Final = statements(__file__)


def take_in() -> None:
    """Store the catalogues of all applications' workers, and forget old ones. Raises redis.RedisError or django.db.Error."""
    known = set(Catalogue.objects.values_list("application_id", "digest"))
    seen: list[tuple[int, str]] = []
    for application in Application.objects.order_by("name"):
        with isolate_faults("reconciler", f"the catalogue of the application {application.name}"):
            live = list(_live(application.key_name))
            seen += [(application.pk, digest) for digest in live]
            _take_in(application, [digest for digest in live if (application.pk, digest) not in known])
            catalogues.keep_only(application.key_name, live, unless_fewer_than=WRITTEN_AT_MOST + 1)
    _renew(seen)
    with connection.cursor() as cursor:
        cursor.execute(_SQL["remove_catalogues"], {"kept": KEPT, "most": KEPT_AT_MOST})


def _take_in(application: Application, unknown: Sequence[str]) -> None:
    for digest, written in catalogues.read(application.key_name, unknown[:READ_AT_ONCE]).items():
        tasks, left_out = advertised.read(written)
        row: dict[str, Any] = {"application": application.pk, "digest": digest, "tasks": json.dumps(tasks), "left_out": left_out}
        with connection.cursor() as cursor:
            cursor.execute(_SQL["insert_catalogue"], row)


def _live(key_name: str) -> Iterator[str]:
    """Yield the digests that an application's workers online name; those that most of them have come first."""
    named = [beat.catalogue for beat in read_all(key_name) if beat.online and _DIGEST.fullmatch(beat.catalogue)]
    yield from sorted(set(named), key=lambda digest: (-named.count(digest), digest))[:LIVE_AT_MOST]


def _renew(seen: list[tuple[int, str]]) -> None:
    columns: dict[str, Any] = {"applications": [id_ for id_, _ in seen], "digests": [digest for _, digest in seen]}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_SQL["renew_catalogues"], {**columns, "seen_every": SEEN_EVERY})
