"""The commands as a typer application, for help, errors of a command line, and completion."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
import typer.core

from broker_mesos.cli.commands import COMMANDS, Command, Group
from broker_mesos.cli.declare import Argument, Option, Parameter, parameters
from broker_mesos.cli.options import COMMON, Call


def run(words: Sequence[str], call: Call, *, completing: bool = False) -> Any:
    """Runs a command line; its exit code, if it has one. Raises what typer finds. With ``completing`` a shell asks
    typer, by variables, what could be typed next."""
    return application(None if completing else words)(
        args=list(words), prog_name="bmesos", standalone_mode=False, obj=call
    )


def application(words: Sequence[str] | None = None) -> typer.Typer:
    """All commands. With ``words`` it is for this command line alone: of commands that no word names, it has only what
    a list of commands shows, since reading all declarations takes as long as to import typer."""
    app = typer.Typer(
        name="bmesos",
        help="Run commands and jobs on a cluster, and operate it.",
        epilog="Start here: `bmesos local` in one terminal, `bmesos run -- echo hello` in another.",
        # Rich takes a third of the time that --help may have, and errors are ours to print.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_described(_options, [*COMMON, _VERSION]))
    _fill(app, COMMANDS, words)
    return app


def _fill(app: typer.Typer, members: Sequence[Command | Group], words: Sequence[str] | None) -> None:
    for each in members:
        if words is not None and each.name not in words:
            if isinstance(each, Command):
                app.command(name=each.name, help=each.function().__doc__)(_unnamed)
            else:
                app.add_typer(typer.Typer(help=each.help, rich_markup_mode=None, callback=_unnamed), name=each.name)
            continue
        if isinstance(each, Command):
            settings = {"ignore_unknown_options": True} if each.odd_words else None
            app.command(
                name=each.name,
                cls=_TakesCommand if each.takes_command else _Command,
                context_settings=settings,
                epilog=_epilog(each.examples),
            )(_command(each))
            continue
        group = typer.Typer(
            help=each.help,
            no_args_is_help=each.alone is None,
            invoke_without_command=each.alone is not None,
            rich_markup_mode=None,
        )
        if each.alone is not None:
            group.callback()(_command(each.alone))
        _fill(group, each.members, words)
        app.add_typer(group, name=each.name)


def _unnamed() -> None:
    """Stands for a command that no word of the command line names."""


class _Command(typer.core.TyperCommand):
    """A command whose help names each argument plainly: ``JOB`` and ``[FILE]``, without types and braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"\{(.*)\}", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = parameter.param_type_name
                name = record[0].partition(" <")[0] if kind == "argument" else record[0].replace("<str>", "TEXT")
                records[kind].append((name, record[1].removesuffix("[required]").rstrip()))
        for title, found in (("Arguments", records["argument"]), ("Options", records["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class _TakesCommand(_Command):
    """The same for a command that takes another program's command line."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- CMD ARG…]"]


def _epilog(examples: Sequence[str]) -> str | None:
    """Examples below the options; the mark keeps their lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {each}" for each in examples) if examples else None


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
