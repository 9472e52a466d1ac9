"""Encodes the arguments of the Redis scripts, and decodes the replies of Redis. Needs no Redis."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from broker_mesos.core.api.health import StoreReport
from broker_mesos.core.protocol.records import OutboxEntry
from broker_mesos.ports.store import Change, Check, Commit
from broker_mesos.store import keys, rules

_ADVICE = (
    (r"\bOOM\b|OutOfMemory|maxmemory", "has no memory left for writes: raise its maxmemory"),
    (r"\bREADONLY\b|ReadOnly|read only replica", "is a read-only replica: give the primary's address"),
    (r"\bLOADING\b|BusyLoading|loading the dataset", "is still loading its data: wait"),
    (r"\bMISCONF\b", "refuses writes because it cannot save to disk: free disk space, see its log"),
    (r"\bNOREPLICAS\b", "refuses writes for want of replicas: start them, or lower min-replicas-to-write"),
    (r"\bMASTERDOWN\b|MasterDown", "is a replica without its primary: give the primary's address"),
    (r"\bBUSY\b", "is busy with a script: wait, or SCRIPT KILL it"),
    (r"\bMOVED\b|\bASK\b|Moved|Ask|CROSSSLOT", "is part of a Redis Cluster: give a single server's address"),
    (r"WRONGTYPE", "has a key of another type under a name of this cluster: delete it, or use another --cluster"),
    (r"max number of clients", "has too many clients: raise its maxclients"),
    (r"\[SSL\b.*WRONG_VERSION_NUMBER", "does not use TLS at this port: write redis://, or give its port for TLS"),
    (r"Protocol error|InvalidResponse", "answers in another protocol: see whether the store's URL names its port"),
    (r"No connection available", "is slower than our calls: wait"),
)


def advice(kind: str, text: str) -> str | None:
    """A description of an error and what to do about it, by the class name and text of the error; None if it is
    unknown."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, f"{kind} {text}")), None)


def commit_arguments(commit: Commit) -> list[str | bytes]:
    """ARGV of commit.lua."""
    net = rules.coalesce(commit)
    arguments: list[str | bytes] = [str(commit.term), commit.nonce, str(commit.number), commit.commit_id]
    for kind in keys.RECORD_KINDS:
        _hash_arguments(arguments, net.deletes[kind], list(net.sets[kind].items()))
    entries = [(str(entry.number), encode_entry(entry)) for entry in commit.outbox]
    _hash_arguments(arguments, [str(number) for number in commit.trim], entries)
    return arguments


def _hash_arguments(arguments: list[str | bytes], deletes: Sequence[str], sets: Sequence[tuple[str, bytes]]) -> None:
    arguments += [str(len(deletes)), *deletes, str(len(sets))]
    for pair in sets:
        arguments += pair


def encode_entry(entry: OutboxEntry) -> bytes:
    """The stored form of an outbox entry: a head in JSON, which contains no line feed, then a line feed and the
    unchanged body."""
    head = json.dumps([entry.exchange, entry.key, entry.type, entry.message_id], separators=(",", ":"))
    return head.encode() + b"\n" + entry.body


def decode_entry(number: int, stored: bytes) -> OutboxEntry:
    """The entry that ``encode_entry`` has encoded."""
    head, _, body = stored.partition(b"\n")
    exchange, key, type_, message_id = json.loads(head)
    return OutboxEntry(number, exchange, key, type_, body, message_id)


def transaction_arguments(checks: Sequence[Check], changes: Sequence[Change]) -> tuple[list[str], list[str]]:
    """The distinct keys (without prefix) and ARGV of transact.lua."""
    index: dict[str, str] = {}
    for key in (*(check.key for check in checks), *(change.key for change in changes)):
        index.setdefault(key, str(len(index) + 1))
    arguments = [str(len(checks))]
    for check in checks:
        present, value = ("0", "") if check.value is None else ("1", rules.as_text(check.value))
        arguments += [check.op, index[check.key], check.field, present, value]
    arguments.append(str(len(changes)))
    for change in changes:
        arguments += [change.op, index[change.key], change.field, rules.as_text(change.value)]
    return list(index), arguments


def milliseconds(time: Sequence[Any]) -> int:
    """The time in a reply to TIME, in milliseconds; redis-py may have parsed the reply already."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


def pairs(reply: Any) -> dict[bytes, bytes]:
    """The pairs in a reply to HGETALL, which may be parsed already."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def text(value: bytes | None) -> str:
    """The text of a value that may be missing; then it is empty."""
    return value.decode() if value else ""


def option(found: Mapping[Any, Any], name: str) -> str:
    """A value out of CONFIG GET or INFO, whose names and values are text or bytes; empty if it is missing."""
    value = found.get(name) or found.get(name.encode()) or ""
    return value.decode() if isinstance(value, bytes) else str(value)


def health(
    info: Mapping[str, Any], fsync: str, policy: str, time: float, took: float, outboxes: Sequence[int]
) -> StoreReport:
    """The health report of a server, from the replies to INFO and other commands."""
    append_only = bool(int(info["aof_enabled"])) if "aof_enabled" in info else None
    results = [info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status") if append_only else None]
    return StoreReport(
        server=f"Redis {info.get('redis_version', '')}".strip(),
        time=time,
        round_trip=took,
        role=str(info.get("role", "")),
        eviction=policy,
        append_only=append_only,
        fsync=fsync,
        saving=all(result in ("ok", None) for result in results) if info else None,
        used_memory=int(info.get("used_memory", 0)),
        max_memory=int(info.get("maxmemory", 0)),
        outboxes=tuple(int(length) for length in outboxes),
    )
