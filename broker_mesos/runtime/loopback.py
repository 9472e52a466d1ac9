"""Which hosts are this machine. It imports nothing: short commands need it before anything else."""

from __future__ import annotations


def is_loopback(host: str) -> bool:
    """Whether a host is ``localhost``, ``127.0.0.0/8`` or ``::1``. Other names that resolve to these are not: what
    they resolve to may change."""
    if host.lower() == "localhost" or host.strip("[]") == "::1":
        return True
    parts = host.split(".")
    numbers = [part for part in parts if part.isascii() and part.isdecimal() and len(part) <= 3 and int(part) < 256]
    return len(numbers) == len(parts) == 4 and parts[0] == "127"
