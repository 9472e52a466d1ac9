"""``bmesos whoami``, ``bmesos token`` and ``bmesos policy check``: who may do what."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, seconds
from broker_mesos.errors import InvalidInput

_ID_LETTERS = string.ascii_lowercase + string.digits
MAX_TTL_SECONDS = 10 * 366 * 86_400.0


def whoami(call: Call) -> None:
    """Show who the cluster takes you for, and what you may do."""
    found = call.client().whoami()
    if call.json:
        show.print_json(show.data(found))
    elif not found.checked:
        show.line("this cluster does not check who you are: everybody may do everything")
    elif not found.name:
        show.line("a master: you may do everything")
    else:
        show.line(f"name:     {found.name}")
        show.line(f"actions:  {', '.join(found.actions) or 'none'}")
        show.line(f"roles:    {', '.join(found.roles) or 'none'}")
        if found.task_users:
            show.line(f"runs as:  {', '.join(found.task_users)}")


def create_token(
    call: Call,
    name: Annotated[str, Argument(metavar="NAME", help="The principal that it is for.", show_default=False)] = "",
    join: Annotated[bool, Option("--join", help="Make a token for agents, instead.", show_default=False)] = False,
    ttl: Annotated[str, Option("--ttl", metavar="TIME", help="Time after which it ends, as 12h or 30d.")] = "30d",
) -> None:
    """Make a token, which is shown this once.

    The token is printed on stdout, and on stderr the entry for the policy file (setting policy), which has only its
    hash. Masters, batch workers and web servers read that file again on SIGHUP. A token ends when its entry is
    removed, too.
    With --join it is a token with which new agents enrol themselves (`bmesos enroll-server`).
    """
    from broker_mesos.core.api.access import JOIN_TOKEN_PREFIX, TOKEN_PREFIX, token_digest
    from broker_mesos.core.protocol.users import check_user

    if bool(name) is join:
        raise InvalidInput("give either the NAME of a principal, or --join for a token with which agents enrol")
    if name:
        check_user(name)
    lifetime = seconds(ttl, "--ttl")
    if not 0 < lifetime <= MAX_TTL_SECONDS:
        raise InvalidInput(f"--ttl {ttl}: give more than 0 seconds and at most 10 years")
    ident = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    token = f"{JOIN_TOKEN_PREFIX if join else TOKEN_PREFIX}{ident}_{secrets.token_urlsafe(32)}"
    expires = (datetime.now(UTC) + timedelta(seconds=lifetime)).replace(microsecond=0)
    entry = f'{{id = "{ident}", sha256 = "{token_digest(token)}", expires = {expires:%Y-%m-%dT%H:%M:%SZ}}}'
    if call.json:
        show.print_json({"token": token, "entry": entry, "principal": name or None})
        return
    show.line(token)
    table = "join" if join else f"principal.{name}"
    show.note(f"bmesos: add this to the tokens of [{table}] in the policy file, and send SIGHUP to its readers:")
    show.note(f"  {entry}")


def check_policy(
    call: Call,
    file: Annotated[Path, Argument(metavar="FILE", help="A policy file, as the setting policy names it.")],
) -> None:
    """Check a policy file of principals and their rights.

    It prints what each principal may do. A wrong file is an error of one line, and daemons keep their last good one.
    """
    from broker_mesos.runtime.policy_file import read_policy

    policy = read_policy(file)
    if call.json:
        show.print_json(show.data(policy))
        return
    rows = [
        (
            name,
            ",".join(each.actions) or "none",
            ",".join(each.roles) or "none",
            len(each.tokens),
            min((entry.expires for entry in each.tokens), default=None),
        )
        for name, each in [*policy.principal.items(), ("default", policy.default)]
    ]
    show.table(
        ["PRINCIPAL", "ACTIONS", "ROLES", ">TOKENS", "FIRST ENDS"],
        [(*row[:4], "-" if row[4] is None else f"{row[4]:%Y-%m-%d %H:%M %Z}") for row in rows],
    )
    for entry in policy.join.tokens:
        show.note(f"bmesos: agents enrol with the join token {entry.id} until {entry.expires:%Y-%m-%d %H:%M %Z}")
