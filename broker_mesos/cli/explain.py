"""``bmesos explain`` and ``bmesos plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Unpack

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, Shell
from broker_mesos.cli.stdin import take_stdin
from broker_mesos.cli.submit import JobFile, options_of, put_command, read_file
from broker_mesos.client.options import JobOptions

if TYPE_CHECKING:
    from broker_mesos.core.api.explain import Explanation

_SHOWN = 10


def explain(
    call: Call,
    ident: Annotated[str, Argument(metavar="ID", help="A job, a task or a framework.")],
    every: Annotated[bool, Option("--all", help="Show all agents, not only those that lack the least.")] = False,
) -> None:
    """Say why a job, task or framework waits.

    For each agent: what is missing, what stands in the way and until when, and who is served before; and the one
    change that would let it run. The answer comes from the code that decides about offers.
    """
    _print(call, call.client().explain(ident, agents=500 if every else 20), every)


def plan(
    call: Call,
    file: JobFile = None,
    shell: Shell = None,
    every: Annotated[bool, Option("--all", help="Show all agents, not only those that lack the least.")] = False,
    **options: Unpack[JobOptions],
) -> int:
    """Say whether a job would run now, and submit nothing.

    It takes what `bmesos submit` takes. Exits with 0 if the tasks would begin now, with 1 if they would wait.
    """
    from broker_mesos.client.spec import build_spec

    words = options_of(read_file(call, file, shell), options)
    words.pop("wait", None)
    if words.get("command") is None and shell is None and not call.command:
        words["command"] = ["true"]
    put_command(call, shell, words, "plan")
    take_stdin(words)
    spec = build_spec(words.pop("command"), **words)
    found = call.client().plan(spec, agents=500 if every else 20)
    _print(call, found, every)
    return 0 if found.would_run else 1


def _print(call: Call, found: Explanation, every: bool) -> None:
    if call.json:
        show.print_json(show.data(found))
        return
    show.line(f"{found.subject}: {found.reason}")
    if found.change:
        show.line(f"what would help: {found.change}")
    for shape, placements in zip(found.shapes, found.placements, strict=True):
        if len(found.shapes) > 1:
            show.line(f"{shape.count} x {show.resources(shape.resources)} in role {shape.role}:")
        room = sum(each.fits for each in placements)
        if room:
            show.line(f"room for {room} such tasks in the next round")
        order = [each for each in placements if each.place]
        if order:
            last = max(order, key=lambda each: each.place or 0)
            ahead = ", ".join(f"{each.framework_id} ({each.role}, {each.share:.1%})" for each in last.ahead)
            show.line(f"in the fair-share order {last.place} are served before: {ahead}")
        whys = [why for each in placements for why in each.agents]
        rows = [
            (
                why.agent_id,
                why.hostname or "-",
                why.what,
                why.message,
                show.resources(why.missing),
                "-" if why.seconds is None else show.duration(why.seconds),
            )
            for why in (whys if every else whys[:_SHOWN])
        ]
        if rows:
            show.table(
                ["AGENT", "HOST", "WHY", "WHAT STANDS IN THE WAY", "SHORT OF", "FOR"], rows, drop=["HOST", "FOR"]
            )
        total = sum(sum(each.counts.values()) for each in placements)
        if total > len(rows):
            show.line(f"{len(rows)} of {total} agents; see all with --all")
    if found.missing:
        show.note(f"bmesos: cells {', '.join(map(str, found.missing))} did not answer: their part is missing")
