"""Sessions of browsers: a token makes a signed cookie, so that no script of a page ever has the token.

The cookie contains who it belongs to, the id of the token and when it ends; no server keeps sessions. All web servers
of a cluster sign with the same key, so that any of them continues a session. The token's id is looked up in the access
policy with every request: a token that is revoked ends its sessions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from broker_mesos.core.api.access import AccessPolicy, token_id_of
from broker_mesos.errors import Denied, InvalidInput

SESSION_SECONDS = 12 * 3_600
"""The longest time for which a session lasts, in seconds."""
MIN_KEY = 32
"""The shortest key, in characters."""
MAX_COOKIE = 4_096
"""The longest cookie that is read, in characters."""
_ENDED = "the session has ended: sign in again"


class Session(NamedTuple):
    """A session of a browser."""

    principal: str
    token_id: str
    ends: float
    """When it ends, in seconds since the epoch."""


class Sessions:
    """Makes and reads the cookies of sessions. ``secure``: the server is reached with HTTPS, and the browser is to
    send the cookie with HTTPS only."""

    def __init__(self, key: str | None, *, secure: bool) -> None:
        """Without a key a new one is made: sessions then end with this process. Raises InvalidInput for a short key."""
        if key is not None and len(key) < MIN_KEY:
            raise InvalidInput(
                f"session_key: it has {len(key)} characters, and needs at least {MIN_KEY}; make one with: "
                "openssl rand -hex 32"
            )
        self._key = secrets.token_bytes(32) if key is None else hashlib.sha256(key.encode()).digest()
        self._secure = secure
        self.cookie_name = "__Host-bmesos" if secure else "bmesos"

    def sign_in(self, token: str, policy: AccessPolicy, now: float) -> Session:
        """The session for a token. ``now`` is in seconds since the epoch. Raises Denied for a token that is wrong or
        has ended."""
        principal = policy.authenticate(token, now)
        token_id = token_id_of(token)
        return Session(principal, token_id, min(now + SESSION_SECONDS, policy.token_ends(principal, token_id)))

    def cookie(self, session: Session, now: float) -> str:
        """The header ``Set-Cookie`` that begins a session."""
        body = json.dumps([session.principal, session.token_id, round(session.ends, 3)], separators=(",", ":"))
        encoded = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
        return self._header(f"{encoded}.{self._signature(encoded)}", max(0, int(session.ends - now)))

    def no_cookie(self) -> str:
        """The header ``Set-Cookie`` that ends a session in the browser."""
        return self._header("", 0)

    def find(self, cookies: Iterable[str]) -> str:
        """The value of the session's cookie in headers ``Cookie``; empty if there is none."""
        for header in cookies:
            try:
                found = SimpleCookie(header[: 4 * MAX_COOKIE]).get(self.cookie_name)
            except CookieError:
                continue
            if found is not None:
                return found.value
        return ""

    def open(self, value: str, policy: AccessPolicy, now: float) -> Session:
        """The session of a cookie, if it has not ended. ``now`` is in seconds since the epoch. Raises Denied."""
        encoded, _, signature = value.partition(".")
        if len(value) > MAX_COOKIE or not hmac.compare_digest(signature.encode(), self._signature(encoded).encode()):
            raise Denied(_ENDED)
        try:
            principal, token_id, ends = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except (binascii.Error, ValueError, TypeError):
            raise Denied(_ENDED) from None
        if now >= ends or now >= policy.token_ends(principal, token_id):
            raise Denied(_ENDED)
        return Session(principal, token_id, ends)

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, b"bmesos session 1:" + text.encode(), hashlib.sha256).hexdigest()

    def _header(self, value: str, seconds: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{self.cookie_name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
