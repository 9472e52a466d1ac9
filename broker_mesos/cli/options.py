"""The options that several commands share, and the values that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli.connection import ConnectionOptions
from broker_mesos.cli.declare import Option, declared
from broker_mesos.client.durations import seconds_of
from broker_mesos.client.names import shown
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.cli.commands import Command
    from broker_mesos.client import Client
    from broker_mesos.client.connect import Security
    from broker_mesos.client.jobs import JobClient
    from broker_mesos.client.options import JobOptions


class Output(StrEnum):
    """How results are printed."""

    table = "table"
    """On a terminal the columns that fit, elsewhere all of them."""
    wide = "wide"
    """All columns, wherever it is printed."""
    json = "json"


Url = Annotated[
    str | None,
    Option("--url", metavar="URL", help="The cluster: http://… or amqp://… (BMESOS_URL; http://127.0.0.1:5050)."),
]
Cluster = Annotated[
    str | None, Option("--cluster", metavar="NAME", help="Its name, where several share one RabbitMQ (BMESOS_CLUSTER).")
]
Format = Annotated[
    Output | None,
    Option(
        "--output",
        "-o",
        metavar="table|wide|json",
        help="Print a table of the columns that fit, all columns, or JSON (table).",
    ),
]
Timeout = Annotated[
    float | None,
    Option("--timeout", min=0.1, max=60, metavar="SECONDS", help="Time limit of one answer, in seconds (5)."),
]

Shell = Annotated[str | None, Option("--shell", metavar="TEXT", help="A command for /bin/sh -c, instead of -- CMD.")]


def given(options: Mapping[str, Any]) -> JobOptions:
    """The job's options that are on the command line, as ``Client.submit`` takes them."""
    found: dict[str, Any] = {name: value for name, value in options.items() if value is not None and value != []}
    if "env" in found:
        found["env"] = environment(found["env"])
    return found  # type: ignore[return-value]


def seconds(text: str, option: str = "") -> float:
    """``90``, ``90s``, ``1.5h``, ``2d``, ``HH:MM:SS`` in seconds. Raises InvalidInput, which names the option."""
    found = seconds_of(text)
    if found is None:
        raise InvalidInput(f"{option} {shown(text)} is no time; write it as 90s, 10m, 1.5h, 2d or HH:MM:SS".strip())
    return found


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Variables from ``NAME=VALUE``."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--env {shown(pair)}: write NAME=VALUE")
        found[name] = value
    return found


def refuse_password(name: str, url: str | None) -> None:
    """Raise InvalidInput for a URL with a password that was given as the flag of the setting ``name``."""
    if url is None or "://" not in url:
        return
    from broker_mesos.runtime.secrets import has_password

    if has_password(url):
        variable = f"BMESOS_{name.upper()}"
        raise InvalidInput(
            f"--{name.replace('_', '-')} has a password, and every user of this machine can read command lines: write "
            f"the URL into a file that {variable}_FILE names, or set {variable}"
        )


COMMON = [
    declared("url", Url),
    declared("cluster", Cluster),
    declared("output", Format),
    declared("timeout", Timeout),
    *(declared(name, annotation) for name, annotation in ConnectionOptions.__annotations__.items()),
]
"""The options that every command takes, before its name or after it."""


class Call:
    """One call of the command: what stood after ``--``, and the options common to all commands."""

    def __init__(self, command: list[str] | None = None, on_run: Callable[[str], None] | None = None) -> None:
        """``on_run`` is called with the name of the command that is run."""
        self.command = command
        self._on_run = on_run
        self.url: str | None = None
        self.cluster: str | None = None
        self.output: Output | None = None
        self.timeout: float | None = None
        self.tls_ca: str | None = None
        self.tls_cert: str | None = None
        self.tls_key: str | None = None
        self.insecure_plaintext: bool | None = None
        self._close: list[Callable[[], None]] = []

    @property
    def json(self) -> bool:
        """Whether stdout gets one JSON value."""
        return self.output is Output.json

    @property
    def patience(self) -> float:
        """Time limit of one answer, in seconds."""
        return 5.0 if self.timeout is None else self.timeout

    @property
    def security(self) -> Security:
        """The options for encrypted connections."""
        return {
            "tls_ca": self.tls_ca,
            "tls_cert": self.tls_cert,
            "tls_key": self.tls_key,
            "insecure_plaintext": self.insecure_plaintext,
        }

    def client(self) -> Client:
        """The client that the options describe; closed when the command has ended."""
        from broker_mesos.client import Client

        made = Client(self.url, cluster=self.cluster, timeout=self.patience, **self.security)
        self.closing(made.close)
        return made

    def jobs(self) -> JobClient:
        """The same for jobs alone, in JSON: a tenth of a second sooner."""
        from broker_mesos.client.jobs import JobClient

        made = JobClient(self.url, cluster=self.cluster, timeout=self.patience, **self.security)
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
        if self._on_run is not None:
            self._on_run(command.name)
        if command.common:
            values = self.common(values)
        if self.command is not None and not command.takes_command:
            raise InvalidInput(f"{command.name} takes nothing after --")
        for name in ("url", "broker_url", "store_url", "enroll_url", "management_url"):
            refuse_password(name, self.url if name == "url" else values.get(name))
        from broker_mesos.cli import show

        show.all_columns = self.output is Output.wide
        try:
            return function(self, **values)
        finally:
            while self._close:
                self._close.pop()()
