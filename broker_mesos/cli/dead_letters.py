"""``bmesos dead-letters``: messages that could not be handled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.core.api.dead_letters import DeadLetterView

LetterId = Annotated[str, Argument(metavar="ID", help="The id of the dead letter, or of its message.")]
OneLetter = Annotated[
    str | None, Argument(metavar="ID", help="The id of the dead letter, or of its message.", show_default=False)
]
All = Annotated[bool, Option("--all", help="All dead letters that there are now.")]


def listing(
    call: Call,
    limit: Annotated[int, Option("--limit", min=1, max=1_000, metavar="N", help="Show N dead letters at most.")] = 100,
    after: Annotated[str, Option("--after", metavar="ID", help="Show those after this one.", show_default=False)] = "",
) -> None:
    """List the dead letters, the oldest first."""
    found = call.client().dead_letters(limit, after)
    if call.json:
        show.print_json([show.data(each) for each in found.letters])
    elif found.letters:
        _table(found.letters)
    else:
        show.line("nothing follows" if after else "no dead letters: whatever came could be handled")
    if found.after:
        more = str(found.total - len(found.letters)) if not after else "some"
        show.note(f"… and {more} more: use --limit N, or --after {found.after}")


def _table(letters: Sequence[DeadLetterView]) -> None:
    columns = ["ID", "TYPE", "FROM", ">TRIES", ">BYTES", "PUT", "REASON"]
    show.table(
        columns,
        [
            (
                each.letter_id or "-",
                each.type or "-",
                each.source or "-",
                each.tries,
                each.size,
                show.since(each.at),
                each.reason or "-",
            )
            for each in letters
        ],
        drop=["BYTES", "TRIES", "PUT", "FROM", "TYPE"],
    )


def detail(call: Call, ident: LetterId) -> None:
    """Show one dead letter with its reason and body."""
    found = call.client().dead_letter(ident)
    if call.json:
        show.print_json(show.data(found))
        return
    letter = found.letter
    rows = [
        ("id", letter.letter_id),
        ("message id", letter.message_id or "-"),
        ("type", letter.type or "-"),
        ("from", letter.source or "-"),
        ("put", show.since(letter.at)),
        ("tries", str(letter.tries)),
        ("reason", letter.reason or "-"),
        ("bytes", str(letter.size)),
    ]
    for name, value in rows:
        show.line(f"{name + ':':<12} {value}")
    show.line("")
    try:
        text = json.dumps(json.loads(found.body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = found.body
    for line in text.splitlines():
        show.line(line)
    if found.cut:
        show.line("… (cut)")


def retry(call: Call, ident: OneLetter = None, every: All = False) -> int:
    """Send one or all back to the queues that they came from.

    A dead letter is removed once RabbitMQ has confirmed the message in its queue. If it fails again, there will be
    a new dead letter.
    """
    return _settle(call, ident, every, again=True)


def drop(call: Call, ident: OneLetter = None, every: All = False) -> int:
    """Delete one or all for good."""
    return _settle(call, ident, every, again=False)


def _settle(call: Call, ident: str | None, every: bool, *, again: bool) -> int:
    if (ident is None) != every or ident == "":
        raise InvalidInput("give the ID of one dead letter, or --all")
    client = call.client()
    found = (client.retry_dead_letters if again else client.drop_dead_letters)(ident or "")
    if call.json:
        show.print_json(show.data(found))
    else:
        letters = "dead letter" if found.settled == 1 else "dead letters"
        left = f"; {found.left} left" if found.left else ""
        show.line(f"{found.settled} {letters} {'sent again' if again else 'dropped'}{left}")
        for why in found.failed:
            show.note(f"bmesos: {why}")
    return 1 if found.failed else 0
