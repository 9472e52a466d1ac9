"""The cell's part of every limit: its requests to the ledger, and the ledger's answers.

There is one open request for each role at a time. A part that is given back is removed from the cell at once, and
from the ledger afterwards; a larger part applies only after the ledger's answer. Therefore the cell never uses more
than the ledger has recorded for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.core.cell.allocation.round_quota import Amounts, held_here
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.quota.ledger import EscrowRequest

TURN_ROUNDS = 1.5
"""Number of batch intervals for which it is one cell's turn to request more of a limit, while other cells whose part is
too small for any offer request nothing."""


def settle(
    state: CellState, requested: Mapping[str, Amounts], *, everything: bool, now: Instant | None = None
) -> dict[str, EscrowRequest]:
    """The requests to the ledger that are due now. ``requested``: by role, the part that this cell could use if it had
    it, as an absolute amount.

    Once per batch interval (``everything``) the cell gives back what it does not need, and repeats requests that were
    refused. If it received a part that is too small for any offer, it gives that back as well: if each cell kept such
    a part, none would ever have enough. It requests more again when it is its turn.
    """
    if state.cells == 1:
        return {}
    if everything:
        mine = now is not None and _turn(state, now) == state.cell
        state.escrow_still = set() if mine else state.escrow_still | state.escrow_refused
        state.escrow_refused.clear()
    found: dict[str, EscrowRequest] = {}
    limits = {role: each for role, each in state.config.roles.items() if each.limit}
    due = [
        role
        for role in limits
        if role not in state.escrow_requests
        and (everything or role not in state.escrow or (role in requested and role not in state.escrow_refused))
    ]
    here = held_here(state, due)
    for role in due:
        limit = limits[role].limit
        held = {name: here[role].get(name) for name in limit}
        more = {} if role in state.escrow_still else requested.get(role, {})
        wanted = {name: max(amount, more.get(name, 0)) for name, amount in held.items()}
        before = state.escrow.get(role)
        if wanted == before:
            continue
        if before is not None:
            state.escrow[role] = {name: min(amount, before.get(name, 0)) for name, amount in wanted.items()}
        state.escrow_requests[role] = found[role] = EscrowRequest(
            role, held, wanted, limit, limits[role].since, state.config.version
        )
    return found


def _turn(state: CellState, now: Instant) -> int:
    return int(now.wall // (TURN_ROUNDS * state.limits.allocation)) % state.cells


def on_set(state: CellState, role: str, since: int, amounts: Mapping[str, int]) -> None:
    """Apply the ledger's answer for one role."""
    request = state.escrow_requests.pop(role, None)
    settings = state.config.roles.get(role)
    if settings is None or not settings.limit or settings.since != since:
        return  # the limit was changed meanwhile
    before = state.escrow.get(role, {})
    state.escrow[role] = dict(amounts)
    if request is not None and any(amounts.get(name, 0) < wanted for name, wanted in request.wanted.items()):
        state.escrow_refused.add(role)  # until the next batch: no tight loop against a full limit
    elif request is not None and any(wanted > request.held.get(name, 0) for name, wanted in request.wanted.items()):
        state.escrow_still.discard(role)
    if any(amount > before.get(name, 0) for name, amount in amounts.items()):
        state.reconsider = True
