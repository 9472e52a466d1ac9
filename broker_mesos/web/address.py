"""Which addresses the HTTP server may listen on."""

from __future__ import annotations

import ipaddress

from broker_mesos.errors import InvalidInput


def checked_host(host: str, *, encrypted: bool = False, insecure: bool = False) -> str:
    """The address to listen on. Raises InvalidInput for one of other machines unless connections are encrypted, or
    plaintext is allowed."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise InvalidInput(f"host {host[:80]!r} is no address: write one of this machine, such as 127.0.0.1") from None
    if not (address.is_loopback or encrypted or insecure):
        raise InvalidInput(
            f"host {address}: an address of other machines is served with TLS only: give --cert and --key (`bmesos "
            "certs` makes them), or --insecure-plaintext, or stay on 127.0.0.1 and use an ssh tunnel"
        )
    return str(address)


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return ipaddress.ip_address(host).is_loopback


def is_any(host: str) -> bool:
    """Whether an address stands for all addresses of this machine."""
    return ipaddress.ip_address(host).is_unspecified


def bracketed(host: str) -> str:
    """The form of an address in URLs and Host headers."""
    return f"[{host}]" if ":" in host else host
