"""How the cluster is divided, as its operators have set it: kept in the store, known to every master.

One hash holds it: ``division`` is the ClusterConfig as JSON, ``version`` its version alone, so that looking
for news is cheap. It is changed by compare-and-set, by any master.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import ValidationError

from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.core.quota.cluster_config import DEFAULT_POLICY, ClusterConfig
from broker_mesos.core.quota.ledger import ledger_key
from broker_mesos.errors import Unavailable
from broker_mesos.ports.store import Change, Check, Records
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

SPACE = "cluster"
"""The Records space of what a cluster's masters share."""
CONFIG, CLUSTER_CONFIG, VERSION = "config", "division", "version"
"""Names in the store, which older releases have written: they stay as they are."""
MAX_TRIES = 20
"""Changes of other masters that may come in between before a change is given up."""


class ConfigStore:
    """The latest config that this master has read, and the way to change it."""

    def __init__(self, records: Records, policies: Mapping[str, Policy]) -> None:
        self.records = records
        self.policies = policies
        self.config = ClusterConfig()
        self._warned_policy = DEFAULT_POLICY
        self._unreadable = ""

    async def refresh(self) -> ClusterConfig:
        """Look for news. Raises StoreUnavailable."""
        (version,) = await self.records.get(CONFIG, [VERSION])
        if version != _version_of(self.config):
            await self._read()
        return self.config

    async def change(self, make: Callable[[ClusterConfig], ClusterConfig]) -> ClusterConfig:
        """Change what is set. ``make`` gets what is set now, and returns what shall be, or raises why not;
        it may be asked several times. The same as before is no change, and gets no new version.

        Raises StoreUnavailable; the change may have been made all the same, and asking again is harmless.
        """
        for _ in range(MAX_TRIES):
            text = await self._read()
            before = self.config
            after = make(before)
            if after.model_copy(update={"version": before.version}) == before:
                return before
            after = after.model_copy(update={"version": before.version + 1})
            unlimited = [
                Change("del", ledger_key(role))
                for role, each in before.roles.items()
                if each.limit and not (role in after.roles and after.roles[role].limit)
            ]
            if await self._put(text, after, unlimited):
                log.info("the cluster's config_store was changed", version=after.version)
                return self.config
        raise Unavailable("others keep changing the cluster's settings at the same time; try again")

    async def _read(self) -> str | None:
        """Take in what is stored; returns it as it stands there."""
        text, version = await self.records.get(CONFIG, [CLUSTER_CONFIG, VERSION])
        stored = self._parsed(text)
        if stored is None:
            # Nobody can divide by what cannot be read; the next change by hand writes it anew.
            return text
        if stored.version >= self.config.version and version == _version_of(stored):
            self._apply(stored)
        elif stored.version < self.config.version and await self._put(text, self.config):
            log.warning("the store had lost what was set for the cluster: put back", version=stored.version)
            return self.config.encode().decode()
        return text

    def _parsed(self, text: str | None) -> ClusterConfig | None:
        if text is None:
            return ClusterConfig()
        try:
            return ClusterConfig.model_validate_json(text)
        except ValidationError:
            if self._unreadable != text:
                self._unreadable = text
                log.error("what is set for the cluster cannot be read", text=text[:200])
            return None

    async def _put(self, text: str | None, config: ClusterConfig, more: list[Change] | None = None) -> bool:
        new = config.encode().decode()
        done = await self.records.transact(
            [Check("hash", CONFIG, CLUSTER_CONFIG, text)],
            [
                Change("hset", CONFIG, CLUSTER_CONFIG, new),
                Change("hset", CONFIG, VERSION, str(config.version)),
                *(more or ()),
            ],
        )
        if done is not None:
            self._apply(config)
        return done is not None

    def _apply(self, config: ClusterConfig) -> None:
        self.config = config
        policy = config.policy or DEFAULT_POLICY
        if policy not in self.policies and policy != self._warned_policy:
            log.error(
                "the cluster's policy is not installed here: this master's cells use the default one",
                policy=policy,
                instead=DEFAULT_POLICY,
            )
        self._warned_policy = policy


def _version_of(config: ClusterConfig) -> str | None:
    """As it is stored; nothing is, where nothing was ever set."""
    return str(config.version) if config.version else None
