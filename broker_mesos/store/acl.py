"""The users of Redis and their rights, as lines of an ACL file: least ones, derived from the names of the keys.

Only masters and built-in frameworks use the store. Scripts run with the rights of their caller, and need the right to
read and to write for each key that they name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from broker_mesos.store import keys

CONFIG_SPACE = "cluster"
"""The space of the masters' records."""

_CONNECTION = ("ping", "hello", "auth", "select", "client|setname", "client|id")
_SCRIPTS = ("eval", "evalsha", "type", "time")
_HASHES = ("hget", "hset", "hsetnx", "hmget", "hgetall", "hdel", "hlen", "hincrby", "hscan")
_SORTED_SETS = ("zadd", "zrem", "zcard", "zrangebyscore", "zrevrange")
_STREAMS = ("xadd", "xrange", "xrevrange")
_OTHERS = ("del", "multi", "exec", "info")
_COMMON = (*_SCRIPTS, *_HASHES, *_SORTED_SETS, *_OTHERS, *_CONNECTION)

# Nobody can be this user, and yet it has all rights: with them Redis (at least up to 8.2) replays the transactions of
# its append-only file. Without them it drops each of these, and the writes of each script, at a restart.
_NOBODY = "user default off resetpass ~* &* +@all"


def user_name(cluster: str, name: str) -> str:
    """The user of a kind of daemon, such as ``master`` or the name of a built-in framework. Raises InvalidInput for an
    invalid cluster name."""
    prefix = "bmesos" if keys.check_cluster(cluster) == "default" else f"bmesos-{cluster}"
    return f"{prefix}-{name}"


def acl(cluster: str, master_password: str, frameworks: Mapping[str, str]) -> str:
    """An ACL file for one cluster. ``frameworks`` are passwords by the space of a built-in framework, which is also
    its name. Nobody else may use the server: the user ``default`` is off. Passwords are in it as their SHA-256.
    Raises InvalidInput for an invalid cluster name."""
    master_keys = [
        f"bmesos:{{{keys.check_cluster(cluster)}.*}}:*",
        keys.cells(cluster),
        keys.masters(cluster),
        keys.usage(cluster),
        f"{keys.records(cluster, CONFIG_SPACE)}*",
        keys.stream(cluster, "events"),
        keys.stream(cluster, "history:*"),
    ]
    # Masters keep a message's tries for a limited time, and look whether the server writes to its disk at once.
    master_commands = (*_COMMON, "expire", "config|get", *_STREAMS)
    lines = [_NOBODY, _user(user_name(cluster, "master"), master_password, master_keys, master_commands)]
    for space, password in frameworks.items():
        lines.append(_user(user_name(cluster, space), password, [f"{keys.records(cluster, space)}*"], _COMMON))
    return "".join(f"{line}\n" for line in lines)


def _user(name: str, password: str, patterns: list[str], commands: tuple[str, ...]) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    rights = [*(f"~{pattern}" for pattern in patterns), *(f"+{command}" for command in commands)]
    return f"user {name} on #{digest} resetchannels -@all {' '.join(rights)}"
