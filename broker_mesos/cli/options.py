"""Options that several commands share, and what they come to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.client import Client


class Output(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The cluster: http://… or amqp://… (BMESOS_URL; http://127.0.0.1:5050)."
    ),
]
Cluster = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="Its name, on servers that several share.")
]
Format = Annotated[Output | None, typer.Option("--output", "-o", help="How to print results.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, max=60, metavar="SECONDS", help="Time limit of one answer (5)."),
]

Name = Annotated[str | None, typer.Option("--name", help="A name for people; the command's by default.")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="N", help="CPUs of each task (1).")]
Mem = Annotated[str | None, typer.Option("--mem", metavar="SIZE", help="Memory: MB, or 512M, 2G (128).")]
Disk = Annotated[str | None, typer.Option("--disk", metavar="SIZE", help="Disk: MB, or 512M, 2G.")]
Gpus = Annotated[float | None, typer.Option("--gpus", metavar="N", help="GPUs of each task.")]
More = Annotated[
    str | None, typer.Option("--resources", metavar="TEXT", help="Any resources, as 'cpus:1;licences:2'.")
]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="K=V", help="An environment variable; repeatable.")
]
Retries = Annotated[
    int | None, typer.Option("--retries", metavar="N", help="Attempts after a failed one (0).")
]
Rerun = Annotated[
    bool | None,
    typer.Option(
        "--rerun/--no-rerun",
        help="Run again elsewhere what was on an agent that is lost (it may run twice); else wait for it.",
        show_default=False,
    ),
]
Revocable = Annotated[
    bool | None,
    typer.Option(
        "--revocable/--no-revocable",
        help="Run only on what agents lend a second time; what is evicted there runs again.",
        show_default=False,
    ),
]
Priority = Annotated[int | None, typer.Option("--priority", metavar="N", help="Higher goes first (0).")]
ConstraintOf = Annotated[
    list[str] | None,
    typer.Option("--constraint", metavar="TEXT", help="Which agents, as 'rack==r1'; repeatable."),
]
Prefer = Annotated[
    list[str] | None,
    typer.Option(
        "--prefer", metavar="TEXT", help="Which agents to wait for, as 'rack==r1'; repeatable: any."
    ),
]
PreferHost = Annotated[
    list[str] | None, typer.Option("--prefer-host", metavar="HOST", help="The same for a host; repeatable.")
]
LocalityWait = Annotated[
    str | None,
    typer.Option("--locality-wait", metavar="TIME", help="How long before any other agent will do (5s)."),
]
Shell = Annotated[
    str | None, typer.Option("--shell", metavar="TEXT", help="A command for /bin/sh -c, instead of -- CMD.")
]


@dataclass
class Call:
    """One call of the command: what stood after ``--``, and the options common to all commands."""

    command: list[str] | None = None
    url: str | None = None
    cluster: str | None = None
    output: Output | None = None
    timeout: float | None = None
    _close: list[Callable[[], None]] = field(default_factory=list)

    @property
    def json(self) -> bool:
        """Whether stdout gets one JSON value."""
        return self.output is Output.json

    def client(self) -> Client:
        """The client that the options describe; closed when the command has ended."""
        from broker_mesos.client import Client

        made = Client(self.url, cluster=self.cluster, timeout=5.0 if self.timeout is None else self.timeout)
        self._close.append(made.close)
        return made

    def close(self) -> None:
        """Let go of what the command has opened."""
        while self._close:
            self._close.pop()()

    def no_command(self, name: str) -> None:
        """Refuses words after ``--`` where none make sense."""
        if self.command is not None:
            raise InvalidInput(f"{name} takes nothing after --")


_COMMON = {"url": Url, "cluster": Cluster, "output": Format, "timeout": Timeout}


def common(function: Callable[..., Any], *, takes_command: bool = False) -> Callable[..., Any]:
    """Makes a typer command of ``function(call, …)``: with the options that every command has, before or
    after its name."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]

    @functools.wraps(function)
    def command(ctx: typer.Context, **values: Any) -> Any:
        call = ctx.obj
        for name in _COMMON:
            value = values.pop(name)
            if value is not None:
                setattr(call, name, value)
        if not takes_command:
            call.no_command(ctx.command.name)
        try:
            return function(call, **values)
        finally:
            call.close()

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters += [each.replace(kind=keyword) for each in own]
    parameters += [
        inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in _COMMON.items()
    ]
    described: Any = command
    described.__signature__ = signature.replace(parameters=parameters)
    described.__annotations__ = {each.name: each.annotation for each in parameters}
    del described.__wrapped__
    return command
