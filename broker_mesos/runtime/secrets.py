"""The passwords that this process knows, and texts without them.

Errors and logs are written so that no password gets into them. This is the second net, for what a library prints, and
for words of a command line. This module imports nothing that takes long.
"""

from __future__ import annotations

from broker_mesos.runtime.urls import passwords, redact

MASK = "***"
SECRET_MIN_CHARACTERS = 8
"""Length from which on a password is searched for: shorter ones are parts of ordinary words."""

_known: list[str] = []
"""The forms of all passwords, the longest first."""


def remember(url: str) -> None:
    """Search for the passwords of this URL from now on."""
    found = {form for password in passwords(url) for form in _forms(password) if len(form) >= SECRET_MIN_CHARACTERS}
    if not found.issubset(_known):
        _known[:] = sorted({*_known, *found}, key=len, reverse=True)


def masked(text: str) -> str:
    """A text without the passwords that this process knows."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


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
