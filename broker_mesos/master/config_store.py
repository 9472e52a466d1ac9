"""The cluster config, as operators have set it: it is stored under one key and cached by every master.

One hash contains it: ``division`` is the ClusterConfig as JSON, ``version`` its version alone, so that a check for
changes is cheap. Any master may change it, by compare-and-set.
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
"""The Records space that the masters of a cluster share."""
CONFIG, CLUSTER_CONFIG, VERSION = "config", "division", "version"
"""Names in the store. They are those of older releases, which must be able to read them."""
MAX_TRIES = 20
"""Maximum number of attempts to store a change while other masters change the config at the same time."""


class ConfigStore:
    """The latest cluster config that this master has read, and the way to change it."""

    def __init__(self, records: Records, policies: Mapping[str, Policy]) -> None:
        self.records = records
        self.policies = policies
        self.config = ClusterConfig()
        self._warned_policy = DEFAULT_POLICY
        self._unreadable = ""

    async def refresh(self) -> ClusterConfig:
        """Read the config if its version has changed. Raises StoreUnavailable."""
        (version,) = await self.records.get(CONFIG, [VERSION])
        if version != _version_of(self.config):
            await self._read()
        return self.config

    async def change(self, make: Callable[[ClusterConfig], ClusterConfig]) -> ClusterConfig:
        """Change the config. ``make`` receives the stored config and returns the new one, or raises an error to
        refuse the change; it may be called several times. A config that is equal to the old one is not stored and
        gets no new version.

        Raises StoreUnavailable; the change may have been stored nevertheless, and the call is safe to repeat.
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
                log.info("the cluster config was changed", version=after.version)
                return self.config
        raise Unavailable("other masters keep changing the cluster config at the same time; try again")

    async def _read(self) -> str | None:
        """Read the stored config, and apply it if it is newer. Returns its text as it is stored."""
        text, version = await self.records.get(CONFIG, [CLUSTER_CONFIG, VERSION])
        stored = self._parsed(text)
        if stored is None:
            # A config that cannot be read cannot be applied; the next change by an operator replaces it.
            return text
        if stored.version >= self.config.version and version == _version_of(stored):
            self._apply(stored)
        elif stored.version < self.config.version and await self._put(text, self.config):
            log.warning("the store has lost the cluster config: stored again", version=stored.version)
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
                log.error("the stored cluster config cannot be read", text=text[:200])
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
                used=DEFAULT_POLICY,
            )
        self._warned_policy = policy


def _version_of(config: ClusterConfig) -> str | None:
    """The version of a config as it is stored; None for the config of a new cluster, which is not stored."""
    return str(config.version) if config.version else None
