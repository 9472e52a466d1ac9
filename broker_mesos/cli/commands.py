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
    Command("submit", "submit:submit", takes_command=True),
    Command("run", "run:run", takes_command=True),
    Command("status", "jobs:status"),
    Command("logs", "jobs:logs"),
    Command("wait", "jobs:wait"),
    Command("kill", "kill:kill"),
    Command("history", "history:history"),
    Command("retry", "history:retry"),
    Command("explain", "explain:explain"),
    Command("plan", "explain:plan", takes_command=True),
    Group(
        "agents",
        "List the agents, and what is used of them; drain them, take them back, give them up.",
        (
            Command("drain", "agents:drain"),
            Command("activate", "agents:activate"),
            Command("deactivate", "agents:deactivate"),
            Command("gone", "agents:gone"),
        ),
        alone=Command("agents", "agents:listing"),
    ),
    Group(
        "maintenance",
        "Plan when agents are away, show what is planned, or cancel it.",
        (
            Command("schedule", "maintenance:schedule"),
            Command("show", "maintenance:plan"),
            Command("cancel", "maintenance:cancel"),
        ),
    ),
    Group(
        "frameworks",
        "List the frameworks, and what they hold; let one that was torn down come back.",
        (Command("readmit", "cluster:readmit"),),
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
                "How much of the cluster a role gets beside others.",
                (
                    # So that -3 is told as a weight, not as an unknown option.
                    Command("set", "roles:set_weight", odd_words=True),
                    Command("show", "roles:show_weights"),
                    Command("clear", "roles:clear_weights"),
                ),
            ),
            Group(
                "quota",
                "What a role is guaranteed, and what it may hold at most.",
                (
                    Command("set", "roles:set_quota"),
                    Command("show", "roles:show_quota"),
                    Command("clear", "roles:clear_quota"),
                ),
            ),
            Command("preempt", "roles:preempt"),
        ),
    ),
    Command("reservations", "reservations:reservations"),
    Command("reserve", "reservations:reserve"),
    Command("unreserve", "reservations:unreserve"),
    Command("volumes", "reservations:volumes"),
    Group(
        "volume",
        "Make or delete persistent volumes.",
        (Command("create", "reservations:create"), Command("destroy", "reservations:destroy")),
    ),
    Group(
        "policy",
        "The rule by which the cluster is divided.",
        (Command("show", "roles:show_policy"), Command("set", "roles:set_policy")),
    ),
    Group(
        "dead-letters",
        "List messages that could not be handled, send them again, or drop them.",
        (
            Command("list", "dead_letters:listing"),
            Command("show", "dead_letters:detail"),
            Command("retry", "dead_letters:retry"),
            Command("drop", "dead_letters:drop"),
        ),
    ),
    Command("doctor", "doctor:doctor"),
    Command("version", "cluster:version"),
    Command("local", "daemons:local", common=False),
    Command("master", "daemons:master", common=False),
    Command("agent", "daemons:agent", common=False),
    Command("framework", "daemons:framework", common=False),
    Command("web", "daemons:web", common=False),
    Group(
        "simulate",
        "Pretend parts of a cluster, to see how the rest does.",
        (Command("agents", "simulate:agents", common=False),),
    ),
)


def find(members: tuple[Command | Group, ...], name: str) -> Command | Group | None:
    """The command or group of this name."""
    return next((each for each in members if each.name == name), None)
