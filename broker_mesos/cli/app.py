"""The commands as a typer application, for help, errors of a command line, and completion."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from broker_mesos.cli.commands import COMMANDS, Command, Group
from broker_mesos.cli.declare import Argument, Option, Parameter, parameters
from broker_mesos.cli.options import COMMON, Call


def run(words: Sequence[str], call: Call) -> Any:
    """Runs a command line; its exit code, if it has one. Raises what typer finds."""
    return application()(args=list(words), prog_name="bmesos", standalone_mode=False, obj=call)


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="bmesos",
        help="Runs commands on a cluster: RabbitMQ carries its messages, Redis holds its state.",
        epilog="Start here: `bmesos local` in one terminal, `bmesos run -- echo hello` in another.",
        # Rich takes a third of the time that --help may have, and errors are ours to print.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_described(_options, [*COMMON, _VERSION]))
    _fill(app, COMMANDS)
    return app


def _fill(app: typer.Typer, members: Sequence[Command | Group]) -> None:
    for each in members:
        if isinstance(each, Command):
            settings = {"ignore_unknown_options": True} if each.odd_words else None
            app.command(name=each.name, context_settings=settings)(_command(each))
            continue
        group = typer.Typer(
            help=each.help,
            no_args_is_help=each.alone is None,
            invoke_without_command=each.alone is not None,
            rich_markup_mode=None,
        )
        if each.alone is not None:
            group.callback()(_command(each.alone))
        _fill(group, each.members)
        app.add_typer(group, name=each.name)


def _command(command: Command) -> Callable[..., Any]:
    function = command.function()

    def called(ctx: typer.Context, **values: Any) -> Any:
        call: Call = ctx.obj
        if ctx.invoked_subcommand is not None:  # a group's own: its options are taken in any case
            call.common(values)
            return None
        return call.run(command, function, values)

    taken = parameters(function)
    if command.common:
        taken += COMMON
    called.__doc__ = function.__doc__
    return _described(called, taken)


def _described(function: Callable[..., Any], taken: Sequence[Parameter]) -> Callable[..., Any]:
    """Gives a function the signature that typer reads."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    made = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    made += [
        inspect.Parameter(
            each.name,
            keyword,
            default=inspect.Parameter.empty if each.required else each.default,
            annotation=Annotated[each.kind, _declaration(each.declared)],
        )
        for each in taken
    ]
    described: Any = function
    described.__signature__ = inspect.Signature(made)
    described.__annotations__ = {each.name: each.annotation for each in made}
    return function


def _declaration(declared: Option | Argument) -> Any:
    settings: dict[str, Any] = {
        "help": declared.help,
        "metavar": declared.metavar,
        "min": declared.min,
        "max": declared.max,
        "show_default": declared.show_default,
    }
    if isinstance(declared, Argument):
        return typer.Argument(**settings)
    if declared is _VERSION.declared:
        settings |= {"callback": _version, "is_eager": True}
    return typer.Option(*declared.flags, **settings)


def _version(wanted: bool) -> None:
    if wanted:
        from broker_mesos import __version__

        print(f"bmesos {__version__}")
        raise typer.Exit


_VERSION = Parameter("version", bool, Option("--version", help="Print the version."), False)


def _options(ctx: typer.Context, **values: Any) -> None:
    """Options that every command takes, given before its name."""
    values.pop("version")
    ctx.obj.common(values)
