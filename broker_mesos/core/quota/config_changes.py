"""Changes of the cluster config, and the checks whether they are possible. Every error is one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker_mesos.core.api.roles import RoleChange
from broker_mesos.core.model.amounts import check_name, shown
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import check_role, is_within, lineage, topmost
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.errors import Conflict, InvalidInput

MAX_ROLES = 5_000
"""The largest number of roles with settings, since every master reads all of them and one message carries them."""


class RoleUsage(NamedTuple):
    """The resources of the cluster and their usage by role, as far as its cells have reported them."""

    total: Resources
    held: Mapping[str, Resources]
    """Used and offered resources by role, each without the roles below it."""

    def held_within(self, role: str) -> Resources:
        """Used and offered resources of a role and all roles below it."""
        return Resources.sum(amount for other, amount in self.held.items() if is_within(other, role))


def parse_limit(text: str) -> dict[str, int]:
    """Parse a limit such as ``cpus:8;gpus:0`` into thousandths by name; 0 allows none at all. Raises InvalidInput."""
    found: dict[str, int] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        one = Resources.parse(part)
        name, _, value = part.partition(":")
        if one.ranges or one.sets or value.strip()[:1] in ("[", "{"):
            raise InvalidInput(f"limit {shown(part)}: only amounts can be limited, as in 'cpus:8;mem:4096'")
        name = name.strip()
        check_name(name)
        if name in found:
            raise InvalidInput(f"limit of {name}: given twice")
        found[name] = one.get(name)
    if not found:
        raise InvalidInput("a limit names resources, as in 'cpus:8;gpus:0'; to have none, clear it")
    return found


def parse_guarantee(text: str) -> Resources:
    """Parse a guarantee such as ``cpus:4;mem:4096``. Raises InvalidInput."""
    found = Resources.parse(text)
    if found.ranges or found.sets:
        raise InvalidInput(f"guarantee {shown(text)}: only amounts can be guaranteed, as in 'cpus:4;mem:4096'")
    if not found:
        raise InvalidInput("a guarantee names resources, as in 'cpus:4;mem:4096'; to have none, clear it")
    return found


def limit_text(limit: Mapping[str, int]) -> str:
    """A limit as text that ``parse_limit`` reads."""
    return ";".join(f"{name}:{amount / 1000:.15g}" for name, amount in sorted(limit.items()))


def set_roles(
    config: ClusterConfig,
    changes: Mapping[str, RoleChange],
    found: RoleUsage,
    *,
    force: bool = False,
    version: int | None = None,
) -> ClusterConfig:
    """The config with the settings of several roles changed. If nothing differs, the config is returned as it is.

    Raises InvalidInput for a change that is never possible, and Conflict for one that ``force`` would allow or if
    the config is not at ``version``.
    """
    roles = dict(config.roles)
    for role, change in changes.items():
        after = _changed(role, roles.get(role, RoleSettings()), change, config.version + 1)
        if after.empty:
            roles.pop(role, None)
        else:
            roles[role] = after
    if roles == config.roles:
        return config
    _expect(config, version)
    if len(roles) > MAX_ROLES:
        raise InvalidInput(f"{len(roles)} roles with settings of their own; at most {MAX_ROLES} are allowed")
    _check(config.roles, roles, found, force)
    return config.model_copy(update={"roles": roles})


def set_policy(
    config: ClusterConfig,
    name: str,
    exclude: Iterable[str] | None,
    known: Iterable[str],
    *,
    version: int | None = None,
) -> ClusterConfig:
    """The config with another policy and other excluded resources (None: unchanged). Raises InvalidInput for a wrong
    name, and Conflict if the config is not at ``version``."""
    names = sorted(known)
    if name and name not in names:
        shown = name if len(name) <= 80 else name[:79] + "…"
        raise InvalidInput(f"there is no policy {shown!r}: choose one of {', '.join(names)}")
    excluded = config.exclude if exclude is None else tuple(sorted(set(exclude)))
    for each in excluded:
        check_name(each)
    after = config.model_copy(update={"policy": name or config.policy, "exclude": excluded})
    if after != config:
        _expect(config, version)
    return after


def _expect(config: ClusterConfig, version: int | None) -> None:
    if version is not None and version != config.version:
        raise Conflict(
            f"the settings are at version {config.version}, not {version}: somebody changed them; look again"
        )


def _changed(role: str, before: RoleSettings, change: RoleChange, version: int) -> RoleSettings:
    check_role(role)
    given: dict[str, object] = {}
    for name in change.clear:
        given[name] = RoleSettings.model_fields[name].get_default(call_default_factory=True)
    if change.weight is not None:
        given["weight"] = change.weight
    if change.preempts is not None:
        given["preempts"] = change.preempts
    try:
        if change.guarantee is not None:
            given["guarantee"] = parse_guarantee(change.guarantee)
        if change.limit is not None:
            given["limit"] = parse_limit(change.limit)
    except InvalidInput as error:
        raise InvalidInput(f"role {role}: {error}") from None
    after = before.model_copy(update=given)
    if not after.limit:
        since = 0
    else:
        since = before.since if set(after.limit) <= set(before.limit) else version
    return after.model_copy(update={"since": since})


def _check(
    before: Mapping[str, RoleSettings], after: Mapping[str, RoleSettings], found: RoleUsage, force: bool
) -> None:
    """Check only what this change causes: a conflict that was forced before, or has come about since, may stay."""
    nothing = RoleSettings()
    changed = [role for role in after if after[role] != before.get(role, nothing)]
    raised = [role for role in changed if not before.get(role, nothing).guarantee.contains(after[role].guarantee)]
    guarantees = {role: each.guarantee for role, each in after.items() if each.guarantee}
    within = {role: topmost(guarantees, role) for role in guarantees}

    def needed(role: str) -> Resources:
        inner = Resources.sum(needed(each) for each in within[role])
        return inner + guarantees[role].clipped_minus(inner)

    limited = [role for role in changed if after[role].limit != before.get(role, nothing).limit]
    for role in dict.fromkeys([*limited, *(above for each in raised for above in lineage(each))]):
        limit = after[role].limit if role in after else None
        if limit:
            tops = [role] if role in guarantees else topmost(guarantees, role)
            _refuse_above(role, limit, Resources.sum(needed(each) for each in tops))
    if force:
        return
    for role in dict.fromkeys([*raised, *(each for each in changed if each in guarantees)]):
        above = next((each for each in lineage(role)[1:] if each in guarantees), None)
        for parent in filter(None, (above, role if within.get(role) else None)):
            inner = Resources.sum(needed(each) for each in within[parent])
            if not guarantees[parent].contains(inner):
                raise Conflict(
                    f"the guarantees below {parent} come to {inner}, more than its own {guarantees[parent]}: "
                    "raise that one as well, or use --force"
                )
    if raised:
        whole = Resources.sum(needed(each) for each in topmost(guarantees, None))
        if not found.total.contains(whole):
            raise Conflict(
                f"all guarantees come to {whole}, and the cluster has {found.total or 'nothing'}: "
                "guarantee less, or use --force"
            )
    for role in limited:
        over = _over(after[role].limit, found.held_within(role))
        if over:
            held = limit_text({name: found.held_within(role).get(name) for name in over})
            raise Conflict(
                f"role {role} holds {held} now, more than a limit of {limit_text(after[role].limit)}: "
                "wait for its tasks to end, or use --force to set it all the same"
            )


def _refuse_above(role: str, limit: Mapping[str, int], guaranteed: Resources) -> None:
    if over := _over(limit, guaranteed):
        name = over[0]
        raise InvalidInput(
            f"role {role}: {name}:{guaranteed.get(name) / 1000:g} is guaranteed in it, and its limit is "
            f"{name}:{limit[name] / 1000:g}; change both together"
        )


def _over(limit: Mapping[str, int], amounts: Resources) -> list[str]:
    return [name for name, most in limit.items() if amounts.get(name) > most]
