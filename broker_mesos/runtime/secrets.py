"""The passwords that this process knows, and texts without them.

Errors and logs are written so that no password gets into them. This is the second net, for what a library prints, and
for words of a command line. This module imports nothing that takes long.
"""

from __future__ import annotations

from broker_mesos.runtime.urls import passwords, redact

MASK = "***"
SECRET_MIN_CHARACTERS = 8
"""Length from which on a password is searched for: shorter ones are parts of ordinary words."""

PART_MIN_CHARACTERS = 6
"""Length from which on the beginning of such a password is taken for a part of it."""

_known: set[str] = set()
"""The forms of all passwords."""


def remember(url: str) -> None:
    """Search for the passwords of this URL from now on."""
    for password in passwords(url):
        remember_token(password)


def remember_token(token: str) -> None:
    """Search for this password or token from now on."""
    _known.update(form for form in _forms(token) if len(form) >= SECRET_MIN_CHARACTERS)


def masked(text: str) -> str:
    """A text without the passwords that this process knows, and without those parts of them with which they begin."""
    spans = []
    for secret in _known:
        beginning = secret[:PART_MIN_CHARACTERS]
        at = text.find(beginning)
        while at >= 0:  # the text may have been cut somewhere in the password
            same = (a == b for a, b in zip(secret, text[at:], strict=False))
            spans.append((at, at + next((n for n, equal in enumerate(same) if not equal), len(secret))))
            at = text.find(beginning, at + 1)
    parts, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def has_password(url: str) -> bool:
    """Whether a text is a URL that contains a password, or may contain one."""
    return redact(url) != url


def _forms(password: str) -> set[str]:
    """A password as it occurs in texts: plain, in a ``repr``, and in JSON."""
    import json

    quoted = repr(password)[1:-1]
    return {
        password,
        quoted,
        quoted.replace("'", "\\'"),
        quoted.replace("\\'", "'"),
        json.dumps(password)[1:-1],
        json.dumps(password, ensure_ascii=False)[1:-1],
        password.encode(errors="backslashreplace").decode(),
        password.encode("ascii", errors="backslashreplace").decode(),
    }
