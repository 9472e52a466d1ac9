"""What operators ask a master about the cluster's config_store, and have it change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.roles import ConfigView, GetConfig, RoleSet, SetPolicy, SetRoles
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.usage import found_in, usage_of
from broker_mesos.core.quota.cluster_config import DEFAULT_POLICY, ClusterConfig
from broker_mesos.core.quota.config_changes import RoleUsage, limit_text, set_policy, set_roles
from broker_mesos.master.config_store import ConfigStore
from broker_mesos.ports.store import Store


class ConfigApi:
    """Answers them. ``cells`` are those that this master owns now; ``changed`` is called after a change."""

    def __init__(
        self,
        config_store: ConfigStore,
        store: Store,
        cells: Callable[[], Iterable[CellState]],
        changed: Callable[[], None],
    ) -> None:
        self._config_store = config_store
        self._store = store
        self._cells = cells
        self._changed = changed

    def add_to(self, handlers: Handlers) -> None:
        """Answer the requests about the configuration, each once its change is stored."""
        handlers.add(GetConfig, self._get)
        handlers.add(SetRoles, self._set_roles)
        handlers.add(SetPolicy, self._set_policy)

    async def _get(self, request: GetConfig) -> ConfigView:
        await self._config_store.refresh()
        return self._stored()

    async def _set_roles(self, request: SetRoles) -> ConfigView:
        found = await self._found()
        await self._config_store.change(
            lambda config: set_roles(config, request.roles, found, force=request.force, version=request.version)
        )
        return self._stored()

    async def _set_policy(self, request: SetPolicy) -> ConfigView:
        policies = self._config_store.policies
        await self._config_store.change(
            lambda config: set_policy(config, request.policy, request.exclude, policies, version=request.version)
        )
        return self._stored()

    def _stored(self) -> ConfigView:
        self._changed()
        return self._view(self._config_store.config)

    async def _found(self) -> RoleUsage:
        """What the cells have told; of this master's own, what is so just now."""
        published = await self._store.usage()
        for state in self._cells():
            published[state.cell] = usage_of(state)
        return found_in(published)

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
