"""``bmesos deploy``: users, passwords and rights for RabbitMQ and Redis, each with the least rights."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS

if TYPE_CHECKING:
    from broker_mesos.bus.rights import Role

SECRETS = Path("bmesos-secrets")
Secrets = Annotated[
    Path,
    Option(
        "--secrets",
        metavar="DIR",
        help="Folder with a password in each file; those that are missing are made (./bmesos-secrets).",
        show_default=False,
    ),
]
Vhost = Annotated[str, Option("--vhost", metavar="NAME", help="The vhost of the cluster.")]


def rabbitmq_definitions(
    call: Call,
    secrets: Secrets = SECRETS,
    agent: Annotated[
        list[str] | None, Option("--agent", metavar="ID", help="An agent, as agent-1; repeatable.")
    ] = None,
    framework: Annotated[
        list[str] | None, Option("--framework", metavar="ID", help="A framework besides batch; repeatable.")
    ] = None,
    person: Annotated[
        list[str] | None, Option("--person", metavar="NAME", help="A person who uses amqp://; repeatable.")
    ] = None,
    enroll: Annotated[
        bool, Option("--enroll", help="The enrolment server, an administrator.", show_default=False)
    ] = False,
    vhost: Vhost = "/",
) -> None:
    """Print RabbitMQ's definitions of all users.

    They have a user for masters, batch workers and web servers, and for each agent, framework and person that is named.
    With --enroll they have one for the enrolment server, which makes those of agents itself.
    RabbitMQ reads them with `load_definitions`, or with `rabbitmqctl import_definitions FILE`. Each daemon then needs
    the setting security=on, and its own user in its URL.
    """
    from broker_mesos.bus.rights import Role
    from broker_mesos.core.protocol.users import ENROLL_USER, MASTER_USER, WEB_USER

    users = {MASTER_USER: Role.MASTER, **dict.fromkeys(FRAMEWORKS, Role.BUILT_IN), WEB_USER: Role.WEB}
    if enroll:
        users[ENROLL_USER] = Role.ENROLL
    for role, names in ((Role.AGENT, agent), (Role.FRAMEWORK, framework), (Role.PERSON, person)):
        for name in names or ():
            if name in users:
                raise InvalidInput(f"user {name!r} is named twice: each user has one name")
            users[name] = role
    _print(call, users, secrets, vhost)


def user(
    call: Call,
    name: Annotated[str, Argument(metavar="NAME", help="The user, which is the id of its agent or framework.")],
    secrets: Secrets = SECRETS,
    framework: Annotated[bool, Option("--framework", help="It is a framework's user.")] = False,
    person: Annotated[bool, Option("--person", help="It is a person's user.")] = False,
    vhost: Vhost = "/",
) -> None:
    """Print RabbitMQ's definitions of one user.

    `rabbitmqctl import_definitions FILE` adds the user, or changes its password and rights. To take all rights away
    at once, delete it: `rabbitmqctl delete_user NAME` closes its connections.
    """
    from broker_mesos.bus.rights import Role, role_of

    if framework and person:
        raise InvalidInput("give --framework or --person, not both")
    role = Role.FRAMEWORK if framework else Role.PERSON if person else role_of(name, FRAMEWORKS)
    if role is None:
        raise InvalidInput(f"user {name!r}: add --framework or --person; the users of agents begin with 'agent-'")
    _print(call, {name: role}, secrets, vhost)


def reset_topology(
    call: Call,
    agent: Annotated[
        list[str] | None, Option("--agent", metavar="ID", help="An agent that the store does not know; repeatable.")
    ] = None,
    framework: Annotated[
        list[str] | None, Option("--framework", metavar="ID", help="Such a framework; repeatable.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Delete queues that have consumers as well.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Only list what would be deleted.")] = False,
) -> None:
    """Delete exchanges and queues of an earlier release.

    It is for an upgrade to a release that declares them in another form. Stop all daemons and frameworks first.
    BMESOS_BROKER_URL must be that of a master, and BMESOS_STORE_URL names the store that knows the agents and
    frameworks. Only what has another form is deleted; messages in these queues are lost, and daemons declare them anew
    when they start.
    """
    from broker_mesos.runtime.settings import load
    from broker_mesos.wiring.reset_topology import reset_topology as reset

    settings = load(cluster=call.cluster)
    done = reset(settings, agent or (), framework or (), force=force, only_list=dry_run)
    if call.json:
        show.print_json([each._asdict() for each in done.earlier])
        return
    for each in done.earlier:
        lost = f", with {each.messages} messages" if each.messages else ""
        show.line(f"{'would delete' if dry_run else 'deleted'} the {each.kind} {each.name}{lost}")
    if not done.earlier:
        show.line("nothing is of an earlier release")
    if settings.store_url is None:
        show.note(
            "bmesos: without BMESOS_STORE_URL only the agents and frameworks that are named were looked at: "
            "--agent ID, --framework ID"
        )


def redis_acl(call: Call, secrets: Secrets = SECRETS) -> None:
    """Print an ACL file for Redis.

    Redis reads it with the setting aclfile. Only masters and batch workers have a user; nobody may use the server
    without one.
    """
    from broker_mesos.store.acl import acl, user_name

    cluster = _cluster(call)
    master = _password(secrets, f"redis-{user_name(cluster, 'master')}")
    frameworks = {
        each.space: _password(secrets, f"redis-{user_name(cluster, each.space)}") for each in FRAMEWORKS.values()
    }
    print(acl(cluster, master, frameworks), end="")
    _note(secrets)


def _print(call: Call, users: dict[str, Role], folder: Path, vhost: str) -> None:
    from broker_mesos.bus.rights import definitions, password_hash
    from broker_mesos.bus.topology import Topology

    topology = Topology(_cluster(call))
    # Names are checked before any file is made.
    definitions(topology, {name: (role, "") for name, role in users.items()}, FRAMEWORKS, vhost)
    hashed = {
        name: (role, password_hash(_password(folder, f"rabbitmq-{name}"), os.urandom(4)))
        for name, role in users.items()
    }
    print(json.dumps(definitions(topology, hashed, FRAMEWORKS, vhost), indent=2))
    _note(folder)


def _note(folder: Path) -> None:
    show.note(f"bmesos: passwords are in {folder}; the output has their hashes only")


def _cluster(call: Call) -> str:
    from broker_mesos.runtime.settings import load

    return load(cluster=call.cluster).cluster


def _password(folder: Path, name: str) -> str:
    """The password in a file of this folder; a new one of 32 random bytes if there is none. Raises InvalidInput for a
    file that cannot be used, or that others may read."""
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                raise InvalidInput(f"{path}: others may read this password; change its mode to 0600") from None
            found = path.read_text(encoding="utf-8").strip()
        else:
            found = secrets.token_urlsafe(32)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{found}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    if not found:
        raise InvalidInput(f"{path}: the password is empty; delete the file to have one made")
    return found
