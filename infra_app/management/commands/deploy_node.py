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

#: Options that are members of Deployment; an option that is not given keeps the default.
_MEMBERS: Final = ("replicas", "concurrency", "memory_mb", "cpus", "image", "host", "region", "restart_policy")


class Command(BaseCommand):
    """Deploy a group of nodes; the exit status says whether it was accepted (with --wait: whether it is ready)."""

    help = "Start worker nodes: containers that each run a Celery worker of this project."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the members of the API's deploy request as arguments."""
        defaults = Deployment()
        parser.add_argument("name", nargs="?", default="", help="name of the group; generated if omitted")
        parser.add_argument("--replicas", type=int, help=f"number of nodes (default {defaults.replicas})")
        parser.add_argument("--queues", help=f"queues to consume, separated by commas (default {','.join(defaults.queues)})")
        parser.add_argument("--concurrency", type=int, help=f"tasks that each node runs at once (default {defaults.concurrency})")
        parser.add_argument("--memory-mb", type=int, help=f"memory limit of each node in MB (default {defaults.memory_mb})")
        parser.add_argument("--cpus", type=float, help=f"CPU limit of each node (default {defaults.cpus:g})")
        parser.add_argument("--image", help="image to run (default ZENITH_WORKER_IMAGE); ZENITH_ALLOWED_IMAGES must allow it")
        parser.add_argument("--host", help="place nodes on this host only")
        parser.add_argument("--region", help="place nodes on hosts of this region only")
        parser.add_argument(
            "--label",
            type=_pair,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="place nodes on hosts with this label only; may be repeated",
        )
        parser.add_argument(
            "--env", type=_pair, action="append", default=[], metavar="NAME=VALUE",
            help="environment variable; ZENITH_NODE_ENVIRONMENT must allow its name; may be repeated",
        )  # fmt: skip
        parser.add_argument("--restart-policy", choices=RestartPolicy.values, help="when to restart a container that exited")
        parser.add_argument("--service", action="store_true", help="run the group as a Swarm service")
        parser.add_argument("--dry-run", action="store_true", help="only check whether the group could be deployed")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Deploy, report, and wait if requested. Raises CommandError."""
        deployment = _deployment(options)
        try:
            if options["dry_run"]:
                nodes.check_deployable(deployment)
                self.stdout.write('{"deployable": true}' if options["json"] else "The group can be deployed.")
                return
            group = nodes.deploy(deployment, cli.current_user())
        except InvalidInputError as error:
            raise cli.invalid_input(error, "nothing was deployed") from None
        except (StateConflictError, NoHostOnlineError) as error:
            raise CommandError(str(error), returncode=cli.FAILED) from None
        if not options["json"]:
            self.stdout.write(f"{group.name}: {group.replicas} requested, group {group.id}")
        try:
            if options["wait"]:
                cli.wait(self, group.nodes.all(), options["wait"], quiet=options["json"])
        finally:
            answer = DeployAnswer.of(group)
            self.stdout.write(answer.model_dump_json() if options["json"] else answer.message)


def _deployment(options: dict[str, Any]) -> Deployment:
    members = {name: options[name] for name in _MEMBERS if options[name] is not None}
    if options["queues"] is not None:
        members["queues"] = tuple(options["queues"].split(","))
    kind = GroupKind.SERVICE if options["service"] else GroupKind.CONTAINERS
    return Deployment(name=options["name"], kind=kind, labels=dict(options["label"]), environment=dict(options["env"]), **members)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
