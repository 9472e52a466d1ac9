"""Chooses a client's transport: HTTP, or RabbitMQ with its own gateway."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict, Unpack

from broker_mesos.client.transport import Transport
from broker_mesos.runtime.loopback import is_loopback

if TYPE_CHECKING:
    from os import PathLike

    from broker_mesos.runtime.tls import TlsFiles

_DEFAULT_URL = "http://127.0.0.1:5050"
_VARIABLES = ("BMESOS_URL", "BMESOS_CLUSTER", "BMESOS_URL_FILE", "BMESOS_TOKEN", "BMESOS_TOKEN_FILE")


class Security(TypedDict, total=False):
    """The settings for encrypted connections; see ``runtime.settings``. What is None is not given."""

    tls_ca: str | PathLike[str] | None
    tls_cert: str | PathLike[str] | None
    tls_key: str | PathLike[str] | None
    insecure_plaintext: bool | None


def connect(url: str | None, cluster: str | None, **security: Unpack[Security]) -> Transport:
    """The transport for flags (None: not given), variables, ``bmesos.toml`` and defaults, in this order.

    Raises InvalidInput. Nothing is connected yet.
    """
    given = {name: value for name, value in os.environ.items() if name.upper() in _VARIABLES}
    plain_url = url if url is not None else given.get("BMESOS_URL") or _DEFAULT_URL
    named = cluster if cluster is not None else given.get("BMESOS_CLUSTER") or None
    plain_cluster = named if named is not None else "default"
    # Anything but plain words is left to the settings, which know files, odd spellings, and what is wrong. They take
    # longer to import than a command over HTTP has, and a third of the time of one over RabbitMQ.
    if (
        _is_word(plain_cluster, "-_")
        and len(plain_cluster) <= 40
        and given.keys() <= {"BMESOS_URL", "BMESOS_CLUSTER", "BMESOS_TOKEN"}
        and not os.path.lexists("bmesos.toml")
    ):
        place = _plain_place(plain_url)
        if place is not None and is_loopback(place[0]):
            from broker_mesos.client.http import HttpTransport

            return HttpTransport(*place, cluster=named, token=given.get("BMESOS_TOKEN", "").strip())
        if _is_plain_amqp(plain_url):
            # Only here: a command over HTTP needs neither.
            from broker_mesos.runtime.tls import NO_FILES

            return _connect_checked(plain_url, plain_cluster, named, NO_FILES)
    from broker_mesos.runtime.settings import load

    settings = load(url=url, cluster=cluster, **security)
    named = settings.cluster if "cluster" in settings.model_fields_set else None
    token = "" if settings.token is None else settings.token.get_secret_value().strip()
    return _connect_checked(settings.client_url(), settings.cluster, named, settings.tls_files(), token)


def _plain_place(url: str) -> tuple[str, int, str] | None:
    """Host, port and path of an ``http://`` URL in which nothing needs a parser. (Compiling a pattern for it
    takes longer than the command has.)"""
    if not url.startswith("http://"):
        return None
    host_and_port, _, path = url.removeprefix("http://").partition("/")
    host, colon, port = host_and_port.partition(":")
    if not _is_word(host, ".-") or (path and not _is_word(path, "._-/")):
        return None
    if not colon:
        return host, 80, path
    number = int(port) if port.isascii() and port.isdecimal() else 0
    return (host, number, path) if 0 < number < 65_536 else None


def _is_plain_amqp(url: str) -> bool:
    """Whether this is a URL of RabbitMQ on this machine that is right as it stands; one with TLS needs the settings."""
    if not url.startswith("amqp://"):
        return False
    from broker_mesos.runtime.urls import check_url, plaintext_problem

    try:
        return check_url(url, ("amqp",), "") == url and not plaintext_problem(url)
    except ValueError:
        return False


def _is_word(text: str, more: str = "") -> bool:
    """Whether text has ASCII letters, digits and ``more`` only, and at least one letter or digit."""
    for each in more:
        text = text.replace(each, "")
    return text.isascii() and text.isalnum()


def _connect_checked(url: str, cluster: str, named: str | None, tls: TlsFiles, token: str = "") -> Transport:
    """``named`` is the cluster's name if somebody gave it: over HTTP it is checked only. ``token`` is for HTTP."""
    if url.startswith(("amqp://", "amqps://")):
        # Only here: the event loop, the gateway and the adapters take long to import.
        from broker_mesos.client.bus import BusTransport
        from broker_mesos.runtime.secrets import remember

        remember(url)
        return BusTransport(url, cluster, tls)
    from urllib.parse import urlsplit

    from broker_mesos.client.http import HttpTransport

    parts = urlsplit(url)
    encrypted = parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    files = tls if encrypted else None
    return HttpTransport(parts.hostname or "127.0.0.1", port, parts.path, tls=files, cluster=named, token=token)
