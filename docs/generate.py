"""Writes the tables of the docs that follow from the code: ``python docs/generate.py``.

A generated part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``. ``tests/test_docs.py``
fails when one of them is not what the code says.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.main

from broker_mesos.bus.topology import Topology
from broker_mesos.cli.app import application
from broker_mesos.cli.options import Call
from broker_mesos.core import api, protocol
from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.task_states import NEVER_STORED, TERMINAL, TRANSITIONS, TaskState
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind
from broker_mesos.core.protocol.wire import REGISTRY, Message
from broker_mesos.frameworks.registry import framework_for
from broker_mesos.operator.job_changes import JobChanged
from broker_mesos.runtime.settings import SECRETS, Settings

DOCS = Path(__file__).parent
_PROTOCOL = "broker_mesos.core.protocol."
_API = "broker_mesos.core.api."
for _package in (protocol, api):
    # A module registers its messages when it is imported.
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        import_module(_module.name)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def one_line(text: str) -> str:
    """A text of a docstring in one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def docstring(thing: Any) -> str:
    """A docstring in one line of Markdown."""
    return one_line(inspect.getdoc(thing) or "")


def code(texts: Iterable[str]) -> str:
    """Words as code, with commas."""
    return ", ".join(f"`{text}`" for text in texts)


# -- the state machine ----------------------------------------------------------------------------------


def transitions() -> str:
    """Where a task may go from each state."""
    rows = []
    for state in TaskState:
        if state in NEVER_STORED:
            continue
        after = [new.value for new in TaskState if new in TRANSITIONS.get(state, ())]
        rows.append([f"`{state.value}`", code(after) if after else "nowhere: it is final"])
    return table(["From", "To"], rows)


def final_states() -> str:
    """The states that never change."""
    return code(state.value for state in TaskState if state in TERMINAL)


# -- messages -------------------------------------------------------------------------------------------


def _fields(kind: type[Message]) -> str:
    return code(kind.model_fields) or "none"


def _kinds() -> list[type[Message]]:
    """All messages, one module after the other: the registry has them in the order of the imports."""
    return sorted(REGISTRY.values(), key=lambda kind: kind.__module__)


def message_table() -> str:
    """What agents, cells and frameworks send to each other."""
    kinds = [kind for kind in _kinds() if kind.__module__.startswith(_PROTOCOL)]
    return table(["Type", "Meaning", "Fields"], [[f"`{kind.TYPE}`", docstring(kind), _fields(kind)] for kind in kinds])


def request_table() -> str:
    """What operators request."""
    rows = []
    for kind in _kinds():
        if issubclass(kind, Request) and kind.__module__.startswith(_API):
            route = kind.ROUTE.value
            if kind.ROUTE is Route.FRAMEWORK:
                framework = framework_for(kind.TYPE)
                route = f"framework `{framework.name if framework else '?'}`"
            users = "yes" if kind.FOR_USERS else "no"
            rows.append([f"`{kind.TYPE}`", docstring(kind), _fields(kind), route, users, f"`{kind.ANSWER.__name__}`"])
    return table(["Type", "Request", "Fields", "Answered by", "For users", "Answer"], rows)


def other_table() -> str:
    """Answers, and what is published on the feed."""
    kinds = [kind for kind in _kinds() if kind.__module__.startswith((_API, JobChanged.__module__))]
    rest = [kind for kind in kinds if not issubclass(kind, Request)]
    return table(["Type", "Meaning", "Fields"], [[f"`{kind.TYPE}`", docstring(kind), _fields(kind)] for kind in rest])


# -- queues ---------------------------------------------------------------------------------------------

_KEYS = {
    QueueKind.CELL_INBOX: "<n>",
    QueueKind.CELL_HEARTBEATS: "<n>",
    QueueKind.OPERATOR_CELL: "<n>",
    QueueKind.OPERATOR_FRAMEWORK: "<framework>",
    QueueKind.OPERATOR_AGENT: "<agent>",
    QueueKind.FRAMEWORK_OFFERS: "<framework>",
    QueueKind.FRAMEWORK_EVENTS: "<framework>",
    QueueKind.AGENT_COMMANDS: "<agent>",
    QueueKind.FLEET_COMMANDS: "<agent>",
    QueueKind.REPLY: "r.<user>.<unique>",
    QueueKind.FEED: "<pattern>",
}


def exchange_table() -> str:
    """The exchanges of the default cluster."""
    topology = Topology()
    types = topology.exchanges()
    queues = [topology.queue_spec(Queue(kind, _KEYS.get(kind, ""))) for kind in QueueKind]
    rows = []
    for exchange in Exchange:
        name = topology.exchange(exchange)
        keys = sorted({key for spec in queues for bound, key in spec.bindings if bound == name})
        rows.append([f"`{name}`", types[name], code(keys)])
    return table(["Exchange", "Type", "Routing keys"], rows)


def queue_table() -> str:
    """The queues of the default cluster."""
    topology = Topology()
    rows = []
    for kind in QueueKind:
        spec = topology.queue_spec(Queue(kind, _KEYS.get(kind, "")))
        arguments = {name: value for name, value in spec.arguments.items() if name != "x-queue-type"}
        rows.append(
            [
                kind.value,
                f"`{spec.name}`" if spec.name else "named by the broker",
                str(spec.arguments["x-queue-type"]) + (", exclusive" if spec.exclusive else ", durable"),
                code(f"{exchange} {key}" for exchange, key in spec.bindings) or "none",
                code(f"{name}: {value}" for name, value in arguments.items()) or "none",
            ]
        )
    return table(["Kind", "Name", "Type", "Bound to", "Arguments"], rows)


# -- modules --------------------------------------------------------------------------------------------

_PACKAGE = DOCS.parent / "broker_mesos"
_SENTENCE = re.compile(r".*?[.?!](?= [A-Z`]|$)")


def purpose(path: Path) -> str:
    """The first sentence of a file: of a module's docstring, or of a script's comment. Raises ValueError if there is
    none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        head = " ".join(re.findall(r"^-- ?(.*)", text.split("\n--\n")[0], re.MULTILINE))
    else:
        head = ast.get_docstring(ast.parse(text)) or ""
    found = _SENTENCE.match(one_line(head.split("\n\n")[0]))
    if found is None:
        raise ValueError(f"{path}: begin its docstring with a sentence about the module")
    return found[0]


def module_tables() -> str:
    """Every file of the package, by folder, with the first sentence of its docstring."""
    parts = []
    for folder in sorted({path.parent for path in _PACKAGE.rglob("*.py")}):
        files = sorted([*folder.glob("*.py"), *folder.glob("*.lua")])
        name = folder.relative_to(_PACKAGE)
        title = "broker_mesos/" if folder == _PACKAGE else f"{name}/"
        rows = [[f"`{path.name}`", purpose(path)] for path in files if path.name != "__init__.py"]
        parts.append(f"## `{title}`\n\n{purpose(folder / '__init__.py')}")
        if rows:
            parts.append(table(["File", "Purpose"], rows))
    return "\n\n".join(parts)


# -- settings and commands ------------------------------------------------------------------------------


def settings_table() -> str:
    """All settings, with their docstrings in ``settings.py``."""
    source = inspect.getsource(Settings)
    rows = []
    for name, field in Settings.model_fields.items():
        found = re.search(rf'^    {name}: [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
        assert found, f"{name} has no docstring"
        meaning = " ".join(found[1].replace("``", "`").split())
        default = field.get_default(call_default_factory=True) or None if field.default_factory else field.default
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        if isinstance(default, bool):
            default = str(default).lower()
        shown = "" if default is None else f"{default:.12g}" if isinstance(default, float) else str(default)
        variables = [f"BMESOS_{name.upper()}", *([f"BMESOS_{name.upper()}_FILE"] if name in SECRETS else [])]
        rows.append([f"`{name}`", code(variables), f"`{shown}`" if shown else "none", meaning])
    return table(["Setting", "Variable", "Default", "Meaning"], rows)


def cli_reference() -> str:
    """Every command with its options."""
    group: Any = typer.main.get_command(application())
    parts = ["### Options of every command\n", _options(group.params)]
    with group.make_context("bmesos", [], resilient_parsing=True, obj=Call()) as context:
        for name in group.list_commands(context):
            parts += _command(f"bmesos {name}", group.get_command(context, name), "###")
    return "\n".join(part for part in parts if part)


def _command(path: str, command: Any, heading: str) -> list[str]:
    """A command, or a group with all below it."""
    parts = [f"\n{heading} {path}\n\n{_paragraphs(command.help)}\n"]
    parts.append(_options(param for param in command.params if param.name not in _COMMON))
    if command.epilog:
        lines = command.epilog.partition("Examples:")[2].splitlines()
        parts.append("\n```sh\n" + "\n".join(line.strip() for line in lines if line.strip()) + "\n```")
    for name, below in getattr(command, "commands", {}).items():
        parts += _command(f"{path} {name}", below, "####")
    return parts


_COMMON = {"url", "cluster", "output", "timeout", "help"}


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _options(params: Iterable[Any]) -> str:
    rows = []
    for param in params:
        names = [*param.opts, *param.secondary_opts]
        if param.param_type_name == "argument":
            name = param.metavar or param.name
            names = [name if param.required else f"[{name}]"]
        default = param.default
        known = isinstance(default, (int, float, str)) and not isinstance(default, bool) and default != ""
        meaning = (param.help or "").strip() + (f" Default: {default}." if known else "")
        if param.name not in ("install_completion", "show_completion"):
            rows.append([code(names), meaning])
    return table(["Option", "Meaning"], rows) if rows else ""


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "state-machine.md": {"transitions": transitions, "final": final_states},
    "modules.md": {"modules": module_tables},
    "reference/messages.md": {"messages": message_table, "requests": request_table, "others": other_table},
    "reference/queues.md": {"exchanges": exchange_table, "queues": queue_table},
    "reference/settings.md": {"settings": settings_table},
    "reference/cli.md": {"commands": cli_reference},
}


def filled(path: str) -> str:
    """A document as it should be. Raises ValueError when a mark is missing."""
    text = (DOCS / path).read_text(encoding="utf-8")
    for name, make in PARTS[path].items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, mark, rest = text.partition(begin)
        _, closing, after = rest.partition(end)
        if not mark or not closing:
            raise ValueError(f"{path}: {begin} … {end} is missing")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


def main() -> None:
    """Fill in every part."""
    for path in PARTS:
        (DOCS / path).write_text(filled(path), encoding="utf-8")


if __name__ == "__main__":
    main()
