"""What the owner of a cell decides about the rights of a principal, since it alone knows what a request is about."""

from __future__ import annotations

from typing import Any

import pytest

from broker_mesos.bus.current_caller import answering
from broker_mesos.core.api.access import parse_policy
from broker_mesos.core.api.reservations import DestroyVolume
from broker_mesos.core.cell.inputs import Input
from broker_mesos.errors import Denied, NotFound
from broker_mesos.master.cell_api import CellApi
from tests.core.cell.yard import Yard, create, reserve

POLICY = parse_policy({"principal": {"ann": {"actions": ["holdings"], "roles": ["eng"]}}})
ANY: Any = None


async def test_a_volume_is_destroyed_by_who_may_use_its_role_alone() -> None:
    yard = Yard()
    for role, name in (("eng", "v1"), ("ops", "v2")):
        yard.by_hand(reserve(role, "disk:100"))
        yard.by_hand(create(role, name, 100))

    async def commit(given: Input) -> None:
        yard.decide(given)
        for _, error in yard.decisions[-1].refusals:
            raise error

    api = CellApi(yard.cell, "m", commit=commit, now=lambda: yard.now, load=ANY, read_config=ANY)

    async def destroy(name: str) -> list[str]:
        answer = await api.handlers.answer(DestroyVolume(agent_id="a1", volume_id=name))
        return [each.volume.volume_id for each in answer.volumes]  # type: ignore[attr-defined]

    with answering(POLICY.caller("ann")):
        with pytest.raises(Denied, match=r"'ann' has no right to holdings for the role ops \(DESTROY_VOLUME\)"):
            await destroy("v2")
        with pytest.raises(NotFound):
            await destroy("v3")
        assert await destroy("v1") == ["v2"]
    with answering(None):  # a master, or a cluster that checks nobody
        assert await destroy("v2") == []
