"""A Django project with a public package's tasks and models is attached; not a line of it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client
from django_celery_results.models import TaskResult

from tasks_app import catalog
from tasks_app.maintenance import catalogues
from tasks_app.models import Application, Task
from tasks_app.models.task import result_id
from tasks_app.web.dispatch_forms import ARGUMENT
from tests.attached.conftest import Company, redis_server
from tests.attached.environments import HERE
from tests.attached.recording import record
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Their `Message.STATUS_SENT` and `Message.STATUS_BLACKLISTED`.
SENT, BLACKLISTED = 3, 5


class Clinic(Company):
    """The project in clinic/, with a database and a mailbox of its own."""

    def __init__(self, directory: Path) -> None:
        self.mail = directory / "mail"
        self.mail.mkdir()
        broker = f"{redis_server()}/13"
        redis.Redis.from_url(broker).flushdb()
        own = {
            "CLINIC_DATABASE": str(directory / "clinic.sqlite3"), "CLINIC_MAIL": str(self.mail), "CLINIC_BROKER": broker,
            "DJANGO_SETTINGS_MODULE": "clinic.settings",
        }  # fmt: skip
        super().__init__("django", directory, HERE, own)
        self.migrated = self.start("migrate", "-m", "django", "migrate", "--verbosity", "0", attached=False)
        assert self.migrated.wait(120) == 0, self.log


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    stream.client().flushdb()
    project = Clinic(tmp_path)
    yield project
    project.stop()


def test_a_django_project_is_attached_and_works_on_its_own_database(clinic: Clinic) -> None:
    clinic.celery_worker("clinic", "clinic@one", "-c", "2")
    seen = clinic.run("-m", "clinic.letters", attached=False)
    letters = [[f"Letter {number}", SENT, 1] for number in range(3)]
    assert seen["letters"] == [*letters, ["Letter to nobody", BLACKLISTED, 0]]
    # Two connections opened within a second may share a file: Django names it by the second and by the connection's id.
    sent = [line for file in clinic.mail.iterdir() for line in file.read_text().splitlines() if line.startswith("Subject: ")]
    assert seen["log"] == len(sent) == 3
    assert seen["values"] == [False, [1, 0], [0, {}]]

    ids = {key_of(id_, "clinic"): id_ for id_ in seen["results"]}

    def ended() -> list[Task]:
        record()
        return list(Task.objects.filter(pk__in=ids, status="SUCCESS"))

    eventually(lambda: len(ended()) == len(ids), but=lambda: clinic.log[-4000:])
    assert [beat.name for beat in heartbeat.read_all("clinic")] == ["clinic@one"]
    # The same as in the project's own database, where its callers find it.
    results = {key: json.loads(text) for key, text in TaskResult.objects.values_list("task_id", "result")}
    assert {ids[row.pk]: [row.name, results[result_id(row.pk, row.text_id)]] for row in ended()} == seen["results"]
    arguments = sorted((row.name.rpartition(".")[2], row.args, row.kwargs.get("message_pk", row.kwargs)) for row in ended())
    assert arguments == [
        ("delete_old_emails", [], {"days": 1}), ("retry_emails", [], {"max_retries": 3}), ("send_email", [], 1),
        ("send_email", [], 2), ("send_email", [], 3), ("send_email", [], 4), ("send_email", [], 4),
        ("send_email", [10**9, "no such letter"], {}),
    ]  # fmt: skip
    # The task that sent a letter again is known as its parent.
    assert Task.objects.filter(parent_id__isnull=False).values_list("kwargs__message_pk", flat=True).get() == 4
    delete_letters_from_zeniths_form(clinic)


def delete_letters_from_zeniths_form(clinic: Clinic) -> None:
    """Fill in the form that Zenith made of what the worker told: the project deletes its letters from its own database."""
    task = "django_yubin.tasks.delete_old_emails"
    eventually(lambda: told(task))
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    assert f'name="{ARGUMENT}days"' in client.get(f"/dispatch/?application=clinic&task={task}").content.decode()
    form = {"application": "clinic", "task": task, f"{ARGUMENT}days": "0"}
    answer = client.post("/dispatch/?application=clinic", form)
    row = Task.objects.get(source="page")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/tasks/{row.pk}/")
    eventually(lambda: record() and Task.objects.get(pk=row.pk).status == "SUCCESS", but=lambda: clinic.log[-4000:])
    result = json.loads(TaskResult.objects.get(task_id=result_id(row.pk, row.text_id)).result)
    assert result[0][1]["django_yubin.Message"] == 4


def told(task: str) -> bool:
    """Whether Zenith knows the project's task."""
    catalogues.take_in()
    catalog.forget()
    return task in catalog.entries(Application.objects.get(name="clinic"))
