"""`manage.py deploy_node`: start containers that each run a Celery worker of this project."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from infra_app import nodes
from infra_app.api.schemas import DeployAnswer
from infra_app.errors import NoHostOnlineError
from infra_app.management import cli
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.validation import Deployment
from zenith_site.common.errors import InvalidInputError, StateConflictError

#: Options that are members of Deployment; those that are not given keep its default.
_MEMBERS: Final = ("replicas", "concurrency", "memory_mb", "cpus", "image", "host", "region", "restart_policy")


class Command(BaseCommand):
    """Deploy a group of nodes; the exit status tells whether it was accepted (and is ready, with --wait)."""

    help = "Start worker nodes: containers that each run a Celery worker of this project."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what the API's deploy takes."""
        usual = Deployment()
        parser.add_argument("name", nargs="?", default="", help="of the group; made up unless given")
        parser.add_argument("--replicas", type=int, help=f"how many (default {usual.replicas})")
        parser.add_argument("--queues", help=f"with commas between them (default {','.join(usual.queues)})")
        parser.add_argument("--concurrency", type=int, help=f"tasks that each runs at once (default {usual.concurrency})")
        parser.add_argument("--memory-mb", type=int, help=f"limit of each (default {usual.memory_mb})")
        parser.add_argument("--cpus", type=float, help=f"limit of each (default {usual.cpus:g})")
        parser.add_argument("--image", help="instead of ZENITH_WORKER_IMAGE; one that ZENITH_ALLOWED_IMAGES allows")
        parser.add_argument("--host", help="only this host")
        parser.add_argument("--region", help="only hosts of this region")
        parser.add_argument("--label", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="only hosts with it")
        parser.add_argument(
            "--env", type=_pair, action="append", default=[], metavar="NAME=VALUE",
            help="of its environment; a name that ZENITH_NODE_ENVIRONMENT allows",
        )  # fmt: skip
        parser.add_argument("--restart-policy", choices=RestartPolicy.values, help="when a node that ended is started again")
        parser.add_argument("--service", action="store_true", help="as one service of a Swarm")
        parser.add_argument("--dry-run", action="store_true", help="only say whether it could be deployed")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Deploy, say what was made, and wait where asked to. Raises CommandError."""
        asked = _deployment(options)
        try:
            if options["dry_run"]:
                nodes.try_deploy(asked)
                self.stdout.write('{"deployable": true}' if options["json"] else "it could be deployed")
                return
            group = nodes.deploy(asked, cli.by())
        except InvalidInputError as error:
            raise cli.refused(error, "nothing was deployed") from None
        except (StateConflictError, NoHostOnlineError) as error:
            raise CommandError(str(error), returncode=cli.NOTHING) from None
        if not options["json"]:
            self.stdout.write(f"{group.name}: {group.replicas} wanted, group {group.id}")
        try:
            if options["wait"]:
                cli.wait(self, group.nodes.all(), options["wait"], quiet=options["json"])
        finally:
            answer = DeployAnswer.of(group)
            self.stdout.write(answer.model_dump_json() if options["json"] else answer.message)


def _deployment(options: dict[str, Any]) -> Deployment:
    given = {name: options[name] for name in _MEMBERS if options[name] is not None}
    if options["queues"] is not None:
        given["queues"] = tuple(options["queues"].split(","))
    kind = GroupKind.SERVICE if options["service"] else GroupKind.CONTAINERS
    return Deployment(name=options["name"], kind=kind, labels=dict(options["label"]), environment=dict(options["env"]), **given)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
