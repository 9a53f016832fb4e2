"""An application behaves the same with Zenith and without, and Zenith has a row for each of its tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_app.models import Application, Task
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.waiting import eventually
from zenith_worker.wire import heartbeat
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: The status of each behaviour's task, where it is not that of its result.
STATUSES = {
    "ignored result": "SUCCESS", "ignored failure": "FAILURE", "retried, ignored result": "SUCCESS", "Ignore": "IGNORED",
    "Reject": "FAILURE", "sends another": "SUCCESS", "expired": "REVOKED", "revoked": "REVOKED",
    # The sender's result is that of the chain's end, which never ran.
    "chain that fails": "REVOKED",
}  # fmt: skip


#: Only processes can be stopped at a limit.
LIMITS = ("hard time limit", "soft time limit")


@pytest.mark.parametrize(("version", "pool"), [("5.3", "prefork"), ("5.7", "prefork"), ("5.7", "threads"), ("5.3", "gevent")])
def test_an_attached_application_behaves_as_one_that_is_not(version: str, pool: str, shop: Callable[[str], Shop]) -> None:
    here = shop(version)
    left_out = () if pool == "prefork" else LIMITS
    here.worker("shop@one", "-c", "4", "--pool", pool, attached=False)
    without = here.run("behaviours.py", *left_out, attached=False)
    here.stop()
    here.empty()
    here.worker("shop@one", "-c", "4", "--pool", pool)
    attached = here.run("behaviours.py", *left_out)
    assert attached["seen"] == without["seen"]
    assert attached["total"] == without["total"]

    application = eventually(lambda: record() and Application.objects.filter(name="shop").first())
    assert (application.kind, application.main) == ("attached", "shop")
    assert [beat.name for beat in heartbeat.read_all("shop")] == ["shop@one"]
    wanted = {name: STATUSES.get(name, seen["state"]) for name, seen in attached["seen"].items()}

    def statuses() -> dict[str, str]:
        record()
        keys = {key_of(id_, "shop"): name for name, id_ in attached["ids"].items()}
        return {keys[key]: status for key, status in Task.objects.filter(id__in=keys).values_list("id", "status")}

    eventually(lambda: statuses() == wanted, but=lambda: differences(statuses(), wanted))
    assert not Task.objects.exclude(application=application).exists()


def differences(seen: dict[str, str], wanted: dict[str, str]) -> dict[str, tuple[str | None, str]]:
    return {name: (seen.get(name), status) for name, status in wanted.items() if seen.get(name) != status}
