"""The commands, in the order that help lists them."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from broker_mesos.cli import (
    agents,
    cluster,
    daemons,
    dead_letters,
    doctor,
    explain,
    holdings,
    jobs,
    maintenance,
    roles,
    simulate,
    submit,
)
from broker_mesos.cli.options import Cluster, Format, Timeout, Url, common

app = typer.Typer(
    name="bmesos",
    help="Runs commands on a cluster: RabbitMQ carries its messages, Redis holds its state.",
    epilog="Start here: `bmesos local` in one terminal, `bmesos run -- echo hello` in another.",
    # Rich takes a third of the time that --help may have, and errors are ours to print.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from broker_mesos import __version__

        print(f"bmesos {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    url: Url = None,
    cluster: Cluster = None,
    output: Format = None,
    timeout: Timeout = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every command takes, given before its name."""
    ctx.obj.url, ctx.obj.cluster, ctx.obj.output, ctx.obj.timeout = url, cluster, output, timeout


with_command = functools.partial(common, takes_command=True)

app.command(name="submit")(with_command(submit.submit))
app.command(name="run")(with_command(submit.run))
app.command(name="status")(common(jobs.status))
app.command(name="logs")(common(jobs.logs))
app.command(name="wait")(common(jobs.wait))
app.command(name="kill")(common(jobs.kill))
app.command(name="explain")(common(explain.explain))
app.command(name="plan")(with_command(explain.plan))
app.add_typer(agents.app, name="agents")
app.add_typer(maintenance.app, name="maintenance")
app.command(name="frameworks")(common(cluster.frameworks))
app.command(name="tasks")(common(cluster.tasks))
app.command(name="offers")(common(cluster.offers))
app.command(name="roles")(common(roles.roles))
app.add_typer(roles.role, name="role")
app.command(name="reservations")(common(holdings.reservations))
app.command(name="reserve")(common(holdings.reserve))
app.command(name="unreserve")(common(holdings.unreserve))
app.command(name="volumes")(common(holdings.volumes))
app.add_typer(holdings.volume, name="volume")
app.add_typer(roles.policy, name="policy")
app.add_typer(dead_letters.app, name="dead-letters")
app.command(name="doctor")(common(doctor.doctor))
app.command(name="version")(common(cluster.version))
app.command(name="local")(daemons.local)
app.command(name="master")(daemons.master)
app.command(name="agent")(daemons.agent)
app.command(name="framework")(daemons.framework)
app.command(name="web")(daemons.web)
app.add_typer(simulate.app, name="simulate")
