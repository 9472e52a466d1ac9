"""Options that several commands share, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli.declare import Option, declared
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.cli.commands import Command
    from broker_mesos.client import Client


class Output(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


Url = Annotated[
    str | None,
    Option("--url", metavar="URL", help="The cluster: http://… or amqp://… (BMESOS_URL; http://127.0.0.1:5050)."),
]
Cluster = Annotated[str | None, Option("--cluster", metavar="NAME", help="Its name, on servers that several share.")]
Format = Annotated[Output | None, Option("--output", "-o", help="How to print results.")]
Timeout = Annotated[
    float | None,
    Option("--timeout", min=0.1, max=60, metavar="SECONDS", help="Time limit of one answer (5)."),
]

Name = Annotated[str | None, Option("--name", help="A name for people; the command's by default.")]
Cpus = Annotated[float | None, Option("--cpus", metavar="N", help="CPUs of each task (1).")]
Mem = Annotated[str | None, Option("--mem", metavar="SIZE", help="Memory: MB, or 512M, 2G (128).")]
Disk = Annotated[str | None, Option("--disk", metavar="SIZE", help="Disk: MB, or 512M, 2G.")]
Gpus = Annotated[float | None, Option("--gpus", metavar="N", help="GPUs of each task.")]
More = Annotated[str | None, Option("--resources", metavar="TEXT", help="Any resources, as 'cpus:1;licences:2'.")]
Env = Annotated[list[str] | None, Option("--env", metavar="K=V", help="An environment variable; repeatable.")]
Retries = Annotated[int | None, Option("--retries", metavar="N", help="Attempts after a failed one (0).")]
Rerun = Annotated[
    bool | None,
    Option(
        "--rerun/--no-rerun",
        help="Run again elsewhere what was on an agent that is lost (it may run twice); else wait for it.",
        show_default=False,
    ),
]
Revocable = Annotated[
    bool | None,
    Option(
        "--revocable/--no-revocable",
        help="Run only on what agents lend a second time; what is evicted there runs again.",
        show_default=False,
    ),
]
Priority = Annotated[int | None, Option("--priority", metavar="N", help="Higher goes first (0).")]
ConstraintOf = Annotated[
    list[str] | None,
    Option("--constraint", metavar="TEXT", help="Which agents, as 'rack==r1'; repeatable."),
]
Gang = Annotated[
    bool | None,
    Option("--gang/--no-gang", help="The whole array begins at once, or not at all."),
]
Prefer = Annotated[
    list[str] | None,
    Option("--prefer", metavar="TEXT", help="Which agents to wait for, as 'rack==r1'; repeatable: any."),
]
PreferHost = Annotated[
    list[str] | None, Option("--prefer-host", metavar="HOST", help="The same for a host; repeatable.")
]
LocalityWait = Annotated[
    str | None,
    Option("--locality-wait", metavar="TIME", help="How long before any other agent will do (5s)."),
]
Shell = Annotated[str | None, Option("--shell", metavar="TEXT", help="A command for /bin/sh -c, instead of -- CMD.")]


COMMON = [
    declared("url", Url),
    declared("cluster", Cluster),
    declared("output", Format),
    declared("timeout", Timeout),
]
"""The options that every command takes, before its name or after it."""


class Call:
    """One call of the command: what stood after ``--``, and the options common to all commands."""

    def __init__(self, command: list[str] | None = None) -> None:
        self.command = command
        self.url: str | None = None
        self.cluster: str | None = None
        self.output: Output | None = None
        self.timeout: float | None = None
        self._close: list[Callable[[], None]] = []

    @property
    def json(self) -> bool:
        """Whether stdout gets one JSON value."""
        return self.output is Output.json

    @property
    def patience(self) -> float:
        """Time limit of one answer, in seconds."""
        return 5.0 if self.timeout is None else self.timeout

    def client(self) -> Client:
        """The client that the options describe; closed when the command has ended."""
        from broker_mesos.client import Client

        made = Client(self.url, cluster=self.cluster, timeout=self.patience)
        self.closing(made.close)
        return made

    def closing(self, close: Callable[[], None]) -> None:
        """Call this when the command has ended."""
        self._close.append(close)

    def common(self, values: dict[str, Any]) -> dict[str, Any]:
        """Takes the common options out of ``values``: those that are given; returns the rest."""
        for each in COMMON:
            value = values.pop(each.name, None)
            if value is not None:
                setattr(self, each.name, value)
        return values

    def run(self, command: Command, function: Callable[..., Any], values: dict[str, Any]) -> Any:
        """Do what the command does; its exit code, if it has one."""
        if command.common:
            values = self.common(values)
        if self.command is not None and not command.takes_command:
            raise InvalidInput(f"{command.name} takes nothing after --")
        try:
            return function(self, **values)
        finally:
            while self._close:
                self._close.pop()()
