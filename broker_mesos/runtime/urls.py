"""URLs of servers: checks, and texts without their passwords. This module imports nothing that takes long."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from broker_mesos.runtime.loopback import is_loopback

_USER_AND_PASSWORD = re.compile(r"://(.*)@", re.DOTALL)
_PLAIN_USER = re.compile(r"[^:@/?#\[\]\s]*")
_QUERY_PASSWORD = re.compile(
    # A parameter of such a name, or one with a value such as pika's ssl_options={'password': 'x'}. A password that is
    # not percent-encoded may contain & and #, so all that follows is taken for a part of it.
    r"([?&][^=&#]*(?:password|secret|token)[^=&#]*=)(.+)|([?&][^=&#]*=)([^&#]*password.*)",
    re.IGNORECASE | re.DOTALL,
)
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379, "http": 80, "https": 443}


def redact(url: str) -> str:
    """A URL without its password, for logs and errors. Safe for text that is not a URL."""
    return _QUERY_PASSWORD.sub(r"\1\3***", _USER_AND_PASSWORD.sub(_hidden, url))


def passwords(url: str) -> list[str]:
    """The passwords in a URL, as they stand in it and without percent-encoding; empty for text that is not a URL."""
    found = []
    if place := _USER_AND_PASSWORD.search(url):
        user, separator, password = place[1].partition(":")
        if not _PLAIN_USER.fullmatch(user):
            password = place[1]
        if separator or password:
            found.append(password)
    for query in _QUERY_PASSWORD.finditer(url):
        value = query[2] or query[4]
        found += [value, *(each.partition("=")[2] or each for each in value.split("&"))] if "&" in value else [value]
    return [form for each in dict.fromkeys(found) if each for form in dict.fromkeys((each, unquote(each)))]


def _hidden(found: re.Match[str]) -> str:
    user, separator, _ = found[1].partition(":")
    # A scheme with other characters may be a part of a password that is not percent-encoded.
    if not _PLAIN_USER.fullmatch(user):
        return "://***@"
    return f"://{user}:***@" if separator else f"://{user}@"


def endpoint(url: str) -> str:
    """``host:port`` of a URL, for errors; IPv6 hosts are in brackets."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def has_user(url: str) -> bool:
    """Whether a URL names a user."""
    return "@" in urlsplit(url).netloc


def with_user(url: str, user: str, password: str) -> str:
    """A URL that has no user, with this one. Both must need no percent-encoding."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{user}:{password}@{rest}"


def without_user(url: str) -> str:
    """A URL without its user and password."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def management_url(broker_url: str) -> str:
    """The URL at which the broker of an ``amqp`` or ``amqps`` URL has its management API, unless it is configured
    otherwise."""
    parts = urlsplit(broker_url)
    host = parts.hostname or "127.0.0.1"
    scheme, port = ("https", 15671) if parts.scheme == "amqps" else ("http", 15672)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


_ENCRYPTED = {"amqp": "amqps", "redis": "rediss", "http": "https"}
"""The scheme with TLS for each scheme without."""


def plaintext_problem(url: str) -> str:
    """Why a URL must not be used unless plaintext is allowed, with what to do, in one line; empty if there is no
    reason: it is encrypted, or its server is on this machine."""
    parts = urlsplit(url)
    if parts.scheme not in _ENCRYPTED or is_loopback(parts.hostname or ""):
        return ""
    return (
        f"{parts.scheme}:// to {endpoint(url)} is not encrypted, and whoever sees the network sees passwords: write "
        f"{_ENCRYPTED[parts.scheme]}:// (tls_ca names the CA), or allow it with --insecure-plaintext "
        "(BMESOS_INSECURE_PLAINTEXT=1)"
    )


def tls_option_problem(url: str) -> str:
    """Which option of a URL would change how TLS is checked, and the setting to use instead; empty if none does."""
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        plain = name.strip().lower()
        if plain.startswith(("ssl", "tls")) or plain in ("cert_reqs", "check_hostname", "verify", "cafile"):
            # Not its value: it may be the password of a key.
            return (
                f"the option {plain[:40]} in a URL is refused: certificates and host names are always checked, and the "
                "settings tls_ca, tls_cert and tls_key (BMESOS_TLS_CA, …) name the files"
            )
    return ""


PERCENT_ENCODE = "in a user name or password write # as %23, / as %2F, ? as %3F, @ as %40, [ as %5B and % as %25"


def check_url(url: str, schemes: tuple[str, ...], example: str) -> str:
    """The URL, without blanks around it and with its scheme in small letters. Raises ValueError, with one line
    without any part of the password, if the URL cannot be one of ``schemes``."""
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    url = scheme.lower() + separator + rest
    problem = _url_problem(url, schemes)
    if problem:
        # Not even redacted: a text that is not a URL may contain its password anywhere.
        raise ValueError(f"{problem}: write it as {example}")
    problem = tls_option_problem(url)
    if problem:
        raise ValueError(problem)
    return url


def _url_problem(url: str, schemes: tuple[str, ...]) -> str:
    """The reason why a URL cannot be one of ``schemes``; empty if it can."""
    scheme, separator, rest = url.partition("://")
    if scheme not in schemes or not separator:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        return f"not a {wanted} URL"
    if re.search(r"\s", url):
        return "a URL with a blank in it (as %20)"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and ("@" not in authority or "[" in authority.rpartition("@")[0]):
        return f"a URL whose parts cannot be distinguished ({PERCENT_ENCODE})"
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return "a URL without a host"
        if parts.port == 0:
            raise ValueError("port 0")
    except ValueError:  # brackets that do not close, or a port that is no number: or a piece of a password
        return f"a URL whose port is no number from 1 to 65535, or whose host is none ({PERCENT_ENCODE})"
    return ""
