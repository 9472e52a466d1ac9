"""The commands, in the order that help lists them. Each one's module is loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """One command, and where its function is: ``function(call, …)``."""

    name: str
    target: str
    """Module and function, as ``jobs:wait``."""
    takes_command: bool = False
    """Whether words may follow after ``--``."""
    common: bool = True
    """Whether it takes the options of every command after its name, too; daemons have their own."""
    odd_words: bool = False
    """Whether a word such as -3 is left to the command rather than taken for an unknown option."""
    examples: tuple[str, ...] = ()
    """Command lines that its help shows."""

    def function(self) -> Callable[..., Any]:
        """What it does."""
        module, _, name = self.target.partition(":")
        found: Callable[..., Any] = getattr(import_module(f"broker_mesos.cli.{module}"), name)
        return found


class Group(NamedTuple):
    """Commands under one name."""

    name: str
    help: str
    members: tuple[Command | Group, ...]
    alone: Command | None = None
    """What the name alone does, instead of help."""


COMMANDS: tuple[Command | Group, ...] = (
    Command(
        "submit",
        "submit:submit",
        takes_command=True,
        examples=(
            "bmesos submit --wait -- echo hello",
            "bmesos submit --array 1-10 --cpus 0.5 --shell 'echo $BMESOS_ARRAY_INDEX'",
            "bmesos submit job.yaml",
        ),
    ),
    Command(
        "run",
        "run:run",
        takes_command=True,
        examples=("bmesos run -- uname -a", "bmesos run --mem 2G --shell 'du -s /tmp | sort'"),
    ),
    Command("status", "jobs:status", examples=("bmesos status", "bmesos status JOB", "bmesos status --watch JOB")),
    Command("logs", "jobs:logs", examples=("bmesos logs JOB", "bmesos logs -f JOB.3", "bmesos logs --stderr JOB.3")),
    Command(
        "exec",
        "exec_command:exec_command",
        takes_command=True,
        examples=("bmesos exec JOB -- ps aux", "bmesos exec -it JOB.3", "bmesos exec -i JOB -- tar x < files.tar"),
    ),
    Command("wait", "jobs:wait", examples=("bmesos wait JOB", "bmesos wait --for 10m JOB.3")),
    Command(
        "kill",
        "kill:kill",
        examples=("bmesos kill JOB", "bmesos kill JOB.3", "bmesos kill --name 'train-*' --state pending --user me"),
    ),
    Command(
        "history",
        "history:history",
        examples=("bmesos history", "bmesos history --state failed,killed --since 2h --user me"),
    ),
    Command("retry", "history:retry", examples=("bmesos retry --wait JOB",)),
    Command("explain", "explain:explain", examples=("bmesos explain JOB",)),
    Command(
        "plan",
        "explain:plan",
        takes_command=True,
        examples=(
            "bmesos plan --cpus 64 -- true",
            "bmesos plan --gang --array 4 --constraint rack==r1",
            "bmesos plan job.yaml",
        ),
    ),
    Group(
        "agents",
        "List, show, drain, activate and give up agents.",
        (
            Command("show", "agents:show_one", examples=("bmesos agents show AGENT",)),
            Command("drain", "agents:drain", examples=("bmesos agents drain AGENT --grace 30s",)),
            Command("activate", "agents:activate"),
            Command("deactivate", "agents:deactivate"),
            Command("gone", "agents:gone"),
            Command("forget", "agents:forget", examples=("bmesos agents forget agent-7",)),
        ),
        alone=Command("agents", "agents:listing"),
    ),
    Group(
        "maintenance",
        "Plan, show or cancel absences of agents.",
        (
            Command(
                "schedule",
                "maintenance:schedule",
                examples=(
                    "bmesos maintenance schedule AGENT --start +10m --duration 1h",
                    "bmesos maintenance schedule AGENT --start '2031-05-04 22:00'",
                ),
            ),
            Command("show", "maintenance:plan"),
            Command("cancel", "maintenance:cancel"),
        ),
    ),
    Group(
        "frameworks",
        "List the frameworks; tear one down, or readmit it.",
        (Command("teardown", "cluster:teardown"), Command("readmit", "cluster:readmit")),
        alone=Command("frameworks", "cluster:frameworks"),
    ),
    Command("tasks", "cluster:tasks"),
    Command("offers", "cluster:offers"),
    Command("roles", "roles:roles"),
    Group(
        "role",
        "Set weights and quota of roles, and who may preempt others.",
        (
            Group(
                "weight",
                "Set, show or clear the weights of roles.",
                (
                    # So that -3 is told as a weight, not as an unknown option.
                    Command(
                        "set",
                        "roles:set_weight",
                        odd_words=True,
                        examples=("bmesos role weight set prod 3", "bmesos role weight set prod=3 test=0.5"),
                    ),
                    Command("show", "roles:show_weights"),
                    Command("clear", "roles:clear_weights"),
                ),
            ),
            Group(
                "quota",
                "Set, show or clear the guarantees and limits of roles.",
                (
                    Command(
                        "set",
                        "roles:set_quota",
                        examples=("bmesos role quota set eng --guarantee 'cpus:4;mem:4096' --limit cpus:8",),
                    ),
                    Command("show", "roles:show_quota"),
                    Command("clear", "roles:clear_quota"),
                ),
            ),
            Command("preempt", "roles:preempt", examples=("bmesos role preempt prod on",)),
        ),
    ),
    Command("reservations", "reservations:reservations"),
    Command(
        "reserve",
        "reservations:reserve",
        examples=("bmesos reserve AGENT eng/db 'cpus:2;disk:1000' --label for=db1",),
    ),
    Command(
        "unreserve",
        "reservations:unreserve",
        examples=("bmesos unreserve AGENT eng/db cpus:2 --label for=db1",),
    ),
    Command("volumes", "reservations:volumes"),
    Group(
        "volume",
        "Create or delete persistent volumes.",
        (
            Command("create", "reservations:create", examples=("bmesos volume create AGENT eng/db data 500",)),
            Command("destroy", "reservations:destroy", examples=("bmesos volume destroy AGENT data",)),
        ),
    ),
    Group(
        "policy",
        "Show or choose the policy, by which resources are divided.",
        (
            Command("show", "roles:show_policy"),
            Command("set", "roles:set_policy", examples=("bmesos policy set priority --exclude gpus",)),
            Command("check", "access:check_policy", examples=("bmesos policy check policy.toml",)),
        ),
    ),
    Group(
        "dead-letters",
        "List, retry or drop messages that could not be handled.",
        (
            Command("list", "dead_letters:listing"),
            Command("show", "dead_letters:detail"),
            Command("retry", "dead_letters:retry"),
            Command("drop", "dead_letters:drop"),
        ),
    ),
    Command("whoami", "access:whoami"),
    Group(
        "token",
        "Make tokens: of principals, and for agents to enrol.",
        (
            Command(
                "create",
                "access:create_token",
                examples=("bmesos token create ann --ttl 30d", "bmesos token create --join --ttl 1d"),
            ),
        ),
    ),
    Group(
        "deploy",
        "Set up the servers of a cluster: users, rights, names.",
        (
            Command(
                "rabbitmq-definitions",
                "deploy:rabbitmq_definitions",
                examples=("bmesos deploy rabbitmq-definitions --agent agent-1 --agent agent-2 --person ann",),
            ),
            Command("redis-acl", "deploy:redis_acl", examples=("bmesos deploy redis-acl --secrets DIR",)),
            Command(
                "user",
                "deploy:user",
                examples=("bmesos deploy user agent-3",),
            ),
            Command(
                "reset-topology",
                "deploy:reset_topology",
                examples=("bmesos deploy reset-topology --dry-run", "bmesos deploy reset-topology"),
            ),
        ),
    ),
    Command("top", "top:top", examples=("bmesos top", "bmesos top --sort mem --filter rack:r1")),
    Command("events", "events:events", examples=("bmesos events", "bmesos events -f --kind agent --kind task.failed")),
    Command("doctor", "doctor:doctor"),
    Group(
        "config",
        "Show or check the settings of this machine.",
        (
            Command("show", "config:show_settings", examples=("bmesos config show --origin",)),
            Command("check", "config:check", examples=("bmesos config check --connect",)),
        ),
    ),
    Command("version", "cluster:version"),
    Command(
        "local",
        "daemons:local",
        common=False,
        examples=(
            "bmesos local",
            "bmesos local --agents 3 --resources 'cpus:8;mem:8192'",
            "bmesos local --data ~/bmesos-data",
        ),
    ),
    Command("master", "daemons:master", common=False, examples=("bmesos master", "bmesos master --cells 8")),
    Command(
        "agent",
        "daemons:agent",
        common=False,
        examples=(
            "bmesos agent --work-dir /var/lib/bmesos",
            "bmesos agent --resources 'cpus:8;mem:8192' --attributes rack:r1",
        ),
    ),
    Command("framework", "daemons:framework", common=False, examples=("bmesos framework batch",)),
    Command(
        "web",
        "daemons:web",
        common=False,
        examples=("bmesos web --port 5050", "bmesos web --host 0.0.0.0 --cert web.crt --key web.key"),
    ),
    Command(
        "enroll-server",
        "daemons:enroll_server",
        common=False,
        examples=("bmesos enroll-server", "bmesos enroll-server --host 0.0.0.0 --cert enroll.crt --key enroll.key"),
    ),
    Group(
        "certs",
        "Make, renew and list certificates of a development CA.",
        (
            Command("ca", "certs:ca", examples=("bmesos certs ca", "bmesos certs ca --dir /etc/bmesos/certs")),
            Command("issue", "certs:issue", examples=("bmesos certs issue rabbitmq --san localhost --san 10.0.0.5",)),
            Command("renew", "certs:renew", examples=("bmesos certs renew", "bmesos certs renew rabbitmq --new-key")),
            Command("show", "certs:listing", examples=("bmesos certs show --dir certs",)),
        ),
    ),
    Group(
        "simulate",
        "Simulate parts of a cluster, to test the others at scale.",
        (
            Command(
                "agents",
                "simulate:agents",
                common=False,
                examples=("bmesos simulate agents --count 1000 --duration exp:30s",),
            ),
        ),
    ),
)


def find(members: tuple[Command | Group, ...], name: str) -> Command | Group | None:
    """The command or group of this name."""
    return next((each for each in members if each.name == name), None)
