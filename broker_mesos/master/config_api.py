"""A master's answers to operator requests about the configuration of the cluster: policy, weights, quota."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import (
    CONFIRM_TIMEOUT_SECONDS,
    USAGE_TIMEOUT_SECONDS,
    ApplyConfig,
    CellUsage,
    ConfigApplied,
    ConfigView,
    GetCellUsage,
    GetConfig,
    RoleSet,
    SetPolicy,
    SetRoles,
)
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.usage import found_in, usage_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import operator_cell
from broker_mesos.core.quota.cluster_config import DEFAULT_POLICY, ClusterConfig
from broker_mesos.core.quota.config_changes import RoleUsage, limit_text, set_policy, set_roles
from broker_mesos.errors import BrokerMesosError
from broker_mesos.master.config_store import ConfigStore
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Store
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

RETRY_SECONDS = 0.1
"""Interval between two requests to a cell that has no owner at the moment, in seconds."""


class ConfigApi:
    """Answers the requests about the configuration. ``cells`` returns the cells that this master owns now; ``changed``
    is called after a change, and ``on_event`` with what has changed: kind, roles and a text; ``requester`` sends
    requests to the owners of cells."""

    def __init__(
        self,
        config_store: ConfigStore,
        store: Store,
        requester: Requester,
        clock: Clock,
        cells: Callable[[], Iterable[CellState]],
        changed: Callable[[], None],
        on_event: Callable[[str, Sequence[str], str], None],
    ) -> None:
        self._on_event = on_event
        self._config_store = config_store
        self._store = store
        self._requester = requester
        self._clock = clock
        self._cells = cells
        self._changed = changed

    def add_to(self, handlers: Handlers) -> None:
        """Register the handlers; each answers once its change is stored and all cells apply it."""
        handlers.add(GetConfig, self._get)
        handlers.add(SetRoles, self._set_roles)
        handlers.add(SetPolicy, self._set_policy)

    async def _get(self, request: GetConfig) -> ConfigView:
        config = await self._config_store.refresh()
        self._changed()
        return self._view(config)

    async def _set_roles(self, request: SetRoles) -> ConfigView:
        found = await self._usage() if _needs_usage(request) else RoleUsage(Resources.EMPTY, {})
        await self._config_store.change(
            lambda config: set_roles(config, request.roles, found, force=request.force, version=request.version)
        )
        names = ", ".join(sorted(request.roles)[:10])
        self._on_event("quota.changed", sorted(request.roles), f"the settings of roles were changed: {names}")
        return await self._confirmed()

    async def _set_policy(self, request: SetPolicy) -> ConfigView:
        policies = self._config_store.policies
        await self._config_store.change(
            lambda config: set_policy(config, request.policy, request.exclude, policies, version=request.version)
        )
        self._on_event("policy.changed", (), f"the policy was set: {request.policy or 'as before'}")
        return await self._confirmed()

    async def _confirmed(self) -> ConfigView:
        """Wait until all cells apply the stored config. A limit that only some cells know would be exceeded by the
        others, although its operator has received the answer that it is set."""
        config = self._config_store.config
        self._changed()
        cells = range(await self._cell_count())
        answers = await asyncio.gather(*map(self._apply, cells))
        unconfirmed = tuple(
            cell
            for cell, answer in zip(cells, answers, strict=True)
            if not (isinstance(answer, ConfigApplied) and answer.version >= config.version)
        )
        return self._view(config).model_copy(update={"unconfirmed": unconfirmed})

    async def _usage(self) -> RoleUsage:
        """The current usage of all cells, which is what `bmesos roles` shows. The usage that a cell publishes in the
        store is up to one heartbeat old, so it is used only for cells that do not answer."""
        published = await self._store.usage()
        for state in self._cells():
            published[state.cell] = usage_of(state)
        own = {state.cell for state in self._cells()}
        others = [cell for cell in range(await self._cell_count()) if cell not in own]
        answers = await asyncio.gather(*(self._request(cell, GetCellUsage(), USAGE_TIMEOUT_SECONDS) for cell in others))
        for cell, usage in zip(others, answers, strict=True):
            if isinstance(usage, CellUsage):
                published[cell] = usage.model_dump_json().encode()
        return found_in(published)

    async def _apply(self, cell: int) -> Part | None:
        """Request the owner of a cell to apply the config. If the cell is changing its owner, the next owner receives
        the request."""
        end = self._clock.monotonic() + CONFIRM_TIMEOUT_SECONDS
        while (left := end - self._clock.monotonic()) > 0:
            if (answer := await self._request(cell, ApplyConfig(), left)) is not None:
                return answer
            await self._clock.sleep(RETRY_SECONDS)
        return None

    async def _request(self, cell: int, request: Request, timeout: float) -> Part | None:
        """The answer of the owner of a cell; None if there is none within ``timeout`` seconds."""
        try:
            return await self._requester.request(operator_cell(cell), request, timeout)
        except BrokerMesosError as error:
            log.warning("a cell does not answer", request=request.TYPE, cell=cell, error=str(error))
            return None

    async def _cell_count(self) -> int:
        return await self._store.cell_count(None) or 0

    def _view(self, config: ClusterConfig) -> ConfigView:
        return ConfigView(
            version=config.version,
            policy=config.policy or DEFAULT_POLICY,
            exclude=config.exclude,
            policies=tuple(sorted(self._config_store.policies)),
            roles={
                role: RoleSet(
                    weight=each.weight,
                    guarantee=each.guarantee,
                    limit=limit_text(each.limit),
                    preempts=each.preempts,
                )
                for role, each in sorted(config.roles.items())
            },
        )


def _needs_usage(request: SetRoles) -> bool:
    """Whether the change may be refused because of what is used or of what resources the cluster has."""
    return any(each.limit is not None or each.guarantee is not None for each in request.roles.values())
