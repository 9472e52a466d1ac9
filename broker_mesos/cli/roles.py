"""``bmesos roles``, ``role`` and ``policy``: how the cluster is divided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import jobfile, show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.client.names import shown
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.core.api.roles import ConfigView


Role = Annotated[str, Argument(metavar="ROLE", help="A role, as eng or eng/db.")]
Roles = Annotated[list[str], Argument(metavar="ROLE", help="A role, as eng or eng/db.")]
SomeRoles = Annotated[list[str] | None, Argument(metavar="ROLE", help="Roles; all by default.", show_default=False)]
Force = Annotated[bool, Option("--force", help="Set it although it cannot be kept now.")]
MAX_WEIGHT = 1e6
_KEYS = ("weight", "guarantee", "limit", "preempts")


def roles(call: Call) -> None:
    """List the roles: what they use, and what is set for them.

    What a role uses includes what all roles below it use.
    """
    state = call.client().state("roles")
    if call.json:
        show.print_json([show.data(each) for each in state.roles])
    elif state.roles:
        columns = ["ROLE", ">WEIGHT", ">FRAMEWORKS", "HOLDS", ">SHARE", "GUARANTEE", "LIMIT", "PREEMPTS"]
        rows = [
            (
                "  " * each.role.count("/") + each.role,
                f"{each.weight:g}",
                each.frameworks,
                show.resources(each.held),
                f"{each.dominant_share:.1%}",
                str(each.guarantee) or "-",
                each.limit or "-",
                "yes" if each.preempts else "no",
            )
            for each in state.roles
        ]
        show.table(columns, rows, drop=["FRAMEWORKS", "PREEMPTS", "SHARE", "WEIGHT", "GUARANTEE"])
    else:
        show.line("no roles yet: they come with frameworks, or with `bmesos role`")
    show.warn_missing(state.missing)


# -- weights --------------------------------------------------------------------------------------------


def set_weight(
    call: Call,
    words: Annotated[list[str], Argument(metavar="ROLE N", help="A role and its weight, or several as ROLE=N.")],
) -> None:
    """Set the weight of a role.

    A role of weight 2 gets twice as much as one of weight 1.

    Several at once, all or none: `bmesos role weight set prod=3 test=0.5`.
    """
    if len(words) == 2 and "=" not in words[0]:
        words = ["=".join(words)]
    changes: dict[str, dict[str, object]] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not equals:
            raise InvalidInput(f"{word}: write `set ROLE N`, or ROLE=N for several roles")
        if name in changes:
            raise InvalidInput(f"the weight of {name} is given twice")
        changes[name] = {"weight": _weight(number)}
    _change(call, changes)


def _weight(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= MAX_WEIGHT:
        raise InvalidInput(
            f"weight {shown(text)}: write a number above 0, at most {MAX_WEIGHT:.0f}; to have none, clear it"
        )
    return number


def show_weights(call: Call, names: SomeRoles = None) -> None:
    """Show the weights that are set."""
    _show(call, call.client().config(), names, ("weight",))


def clear_weights(call: Call, names: Roles) -> None:
    """Give roles the default weight again."""
    _change(call, {name: {"clear": ["weight"]} for name in names})


# -- quota ----------------------------------------------------------------------------------------------


def set_quota(
    call: Call,
    name: Annotated[str | None, Argument(metavar="ROLE", help="A role, as eng or eng/db.")] = None,
    guarantee: Annotated[
        list[str] | None,
        Option("--guarantee", metavar="TEXT", help="What is kept free for it, as 'cpus:4;mem:4096'."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        Option("--limit", metavar="TEXT", help="What it may use at most, as 'cpus:8'; 'cpus:0': none."),
    ] = None,
    file: Annotated[
        Path | None,
        Option("--file", "-f", metavar="FILE", help="A YAML or TOML file with a table of settings for each role."),
    ] = None,
    force: Force = False,
) -> None:
    """Set the guarantee or the limit of a role.

    What is not given stays as it is.

    Several roles at once, all or none: `--limit 'eng=cpus:8' --limit 'ops=cpus:4'`, or a file with
    `eng: {guarantee: "cpus:4", limit: "cpus:8", weight: 2, preempts: true}`, where null clears.
    Refused while it cannot be kept: guarantees that the cluster does not have, or a limit below what the
    role uses. With --force it is set all the same.
    """
    if file is not None and name is not None and not (guarantee or limit):
        raise InvalidInput(f"{name} or --file {file}? The file names its roles itself: leave {name} out")
    changes: dict[str, dict[str, object]] = {} if file is None else _read(file)
    for key, values in (("guarantee", guarantee), ("limit", limit)):
        for value in values or ():
            of, text = _of_role(name, key, value)
            if key in changes.setdefault(of, {}):
                raise InvalidInput(f"the {key} of {of} is given twice")
            changes[of][key] = text
    if not changes:
        raise InvalidInput("give a ROLE with --guarantee or --limit, or --file FILE")
    if name is not None and name not in changes:
        raise InvalidInput(f"nothing is said about {name}: give --guarantee or --limit for it")
    _change(call, changes, force)


def show_quota(call: Call, names: SomeRoles = None) -> None:
    """Show the guarantees and limits that are set."""
    _show(call, call.client().config(), names, ("guarantee", "limit"))


def clear_quota(call: Call, names: Roles) -> None:
    """Remove the guarantees and limits of roles."""
    _change(call, {name: {"clear": ["guarantee", "limit"]} for name in names})


def preempt(
    call: Call,
    name: Role,
    switch: Annotated[str, Argument(metavar="on|off", help="Whether it may; off by default.")],
) -> None:
    """Set whether a role may preempt tasks of other roles.

    It preempts them for its guarantee, or for its priority.
    """
    if switch not in ("on", "off"):
        raise InvalidInput(f"{switch}: write `bmesos role preempt {name} on`, or off")
    _change(call, {name: {"preempts": switch == "on"}})


def _of_role(name: str | None, key: str, value: str) -> tuple[str, str]:
    of, equals, text = value.partition("=")
    if equals:
        return of.strip(), text
    if name is None:
        raise InvalidInput(f"--{key} {value}: whose? Give a ROLE, or write ROLE=AMOUNTS")
    return name, value


def _read(file: Path) -> dict[str, dict[str, object]]:
    changes: dict[str, dict[str, object]] = {}
    for name, content in jobfile.read_table(file).items():
        if not isinstance(content, dict):
            raise InvalidInput(f"{file}: {name} is to be a table, as in `eng: {{limit: 'cpus:8'}}`")
        change: dict[str, object] = {}
        clear = [key for key, value in content.items() if value is None]
        for key, value in content.items():
            if key not in _KEYS:
                raise InvalidInput(f"{file}: {name}: unknown key {key!r}; there are {', '.join(_KEYS)}")
            if value is not None:
                change[key] = _weight(str(value)) if key == "weight" else value
        changes[str(name)] = {**change, "clear": clear} if clear else change
    return changes


def _change(call: Call, changes: Mapping[str, Mapping[str, object]], force: bool = False) -> None:
    found = call.client().set_roles(changes, force=force)
    _warn_unconfirmed(found)
    _show(call, found, list(changes), ("weight", "guarantee", "limit", "preempts"))


def _show(call: Call, config: ConfigView, names: Iterable[str] | None, keys: Sequence[str]) -> None:
    wanted = list(names or ())
    found: dict[str, Any] = {}
    for name in wanted or config.roles:
        settings = show.data(config.roles[name]) if name in config.roles else {}
        if wanted or any(settings[key] for key in keys):
            found[name] = {key: settings.get(key) for key in keys}
    if call.json:
        show.print_json(found)
    elif found:
        show.table(
            ["ROLE", *(f">{key.upper()}" if key == "weight" else key.upper() for key in keys)],
            [(name, *(_text(each[key]) for key in keys)) for name, each in found.items()],
        )
    else:
        show.line("nothing is set for any role")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value or "-")


def _warn_unconfirmed(found: ConfigView) -> None:
    if found.unconfirmed:
        cells = ", ".join(map(str, found.unconfirmed))
        show.note(
            f"bmesos: set, but not confirmed by the owner of cell {cells}: it takes effect there as soon as it answers"
        )


# -- policy ---------------------------------------------------------------------------------------------


def show_policy(call: Call) -> None:
    """Show the policy in use, and those that can be chosen."""
    _policy(call, call.client().config())


def set_policy(
    call: Call,
    name: Annotated[str | None, Argument(metavar="NAME", help="The policy; by default the one in use.")] = None,
    exclude: Annotated[
        list[str] | None,
        Option("--exclude", metavar="RESOURCE", help="A resource that does not count in shares; repeatable."),
    ] = None,
    include_all: Annotated[bool, Option("--exclude-none", help="All resources count again.")] = False,
) -> None:
    """Choose the policy, by which resources are divided.

    drf, priority, random, or one that is installed with the masters.
    """
    if not name and not exclude and not include_all:
        raise InvalidInput("give the NAME of a policy, or --exclude; `bmesos policy show` lists them")
    if exclude and include_all:
        raise InvalidInput("--exclude and --exclude-none contradict each other")
    excluded = () if include_all else exclude or None
    found = call.client().set_policy(name or "", exclude=excluded)
    _warn_unconfirmed(found)
    _policy(call, found)


def _policy(call: Call, found: ConfigView) -> None:
    if call.json:
        data = show.data(found)
        show.print_json({key: data[key] for key in ("policy", "exclude", "policies", "version")})
        return
    show.line(f"policy:    {found.policy}")
    show.line(f"excluded:  {', '.join(found.exclude) or 'nothing'}")
    show.line(f"available: {', '.join(found.policies)}")
