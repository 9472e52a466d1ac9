"""The folder of a development CA: ``ca.crt``, ``ca.key``, and ``NAME.crt`` and ``NAME.key`` for each service."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker_mesos.certs.issuing import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    Pair,
    authority_name,
    is_signed_by,
    issue,
    make_authority,
    read_pair,
)
from broker_mesos.errors import Conflict, InvalidInput, NotFound

AUTHORITY = "ca"
"""The name of the CA among the certificates of its folder."""
RENEW_DAYS = 30
"""Remaining days from which on a certificate is renewed."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Folder:
    """Files are written whole or not at all; keys can be read by their owner only, and nothing is overwritten but by
    ``renew``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make_authority(self) -> Pair:
        """Make the CA. Raises Conflict if there is one."""
        self._must_be_free(AUTHORITY, "use another folder, or renew it with `bmesos certs renew ca`")
        made = make_authority(f"bmesos development CA {time.strftime('%Y-%m-%d')}")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"cannot make the folder {self.path}: {error.strerror}") from None
        self._write(AUTHORITY, made)
        return made

    def issue(self, name: str, names: Sequence[str], days: int = LEAF_DAYS) -> Pair:
        """Make the certificate of a service, for its name and the others. Raises Conflict if there is one."""
        if not _NAME.fullmatch(name) or name == AUTHORITY:
            raise InvalidInput(f"name {name[:80]!r}: use letters, digits, '.', '_' or '-', as in 'rabbitmq'; not 'ca'")
        authority = self.read(AUTHORITY)
        self._must_be_free(name, f"renew it with `bmesos certs renew {name}`")
        made = issue(authority, name, list(dict.fromkeys([name, *names])), days)
        self._write(name, made)
        return made

    def renew(self, names: Sequence[str], within_days: float, *, new_key: bool = False) -> list[tuple[str, Pair]]:
        """Renew the named certificates, or without names all that end within some days; the CA in time for all that it
        signs. They keep their names and, unless ``new_key``, their keys: the CA always keeps its own, so that what it
        has signed stays trusted."""
        limit = time.time() + within_days * 86_400
        authority = self.read(AUTHORITY)
        renewed = []
        if AUTHORITY in names or (not names and authority.ends < limit + LEAF_DAYS * 86_400):
            authority = make_authority(authority_name(authority), AUTHORITY_DAYS, authority.key)
            self._write(AUTHORITY, authority)
            renewed.append((AUTHORITY, authority))
        for name in [each for each in names if each != AUTHORITY] or ([] if names else self.names()):
            old = self.read(name)
            if not names and old.ends >= limit and is_signed_by(old, authority):
                continue
            new = issue(authority, name, old.names, key=None if new_key else old.key)
            self._write(name, new)
            renewed.append((name, new))
        return renewed

    def names(self) -> list[str]:
        """The names of the services that have a certificate here."""
        if not self.path.is_dir():
            raise self._missing()
        return sorted(each.stem for each in self.path.glob("*.crt") if each.stem != AUTHORITY)

    def all(self) -> Iterator[tuple[str, Pair]]:
        """The CA and all certificates, with their names."""
        for name in (AUTHORITY, *self.names()):
            yield name, self.read(name)

    def read(self, name: str) -> Pair:
        """A certificate and its key. Raises NotFound, and InvalidInput for files that are damaged."""
        certificate, key = self._files(name)
        try:
            return read_pair(certificate.read_bytes(), key.read_bytes())
        except FileNotFoundError as error:
            if name == AUTHORITY:
                raise self._missing() from None
            raise NotFound(f"no such file: {error.filename}: make it with `bmesos certs issue {name}`") from None
        except OSError as error:
            raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise InvalidInput(
                f"{certificate} and {key} cannot be used ({error}): move them away, and make them again"
            ) from None

    def _missing(self) -> NotFound:
        return NotFound(
            f"there is no CA in {self.path}: make one with `bmesos certs ca --dir {self.path}`, or name it with --dir"
        )

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.path / f"{name}.crt", self.path / f"{name}.key"

    def _must_be_free(self, name: str, advice: str) -> None:
        for file in self._files(name):
            if os.path.lexists(file):
                raise Conflict(f"{file} exists, and is not overwritten: {advice}")

    def _write(self, name: str, pair: Pair) -> None:
        certificate, key = self._files(name)
        try:
            # The key first: whoever finds the certificate finds its key.
            _replace(key, pair.key_pem, 0o600)
            _replace(certificate, pair.certificate_pem, 0o644)
        except OSError as error:
            raise InvalidInput(f"cannot write into {self.path}: {error.strerror}") from None


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file, so that whoever reads it meanwhile finds the old content or the new one; unchanged content is left
    as it is."""
    if path.exists() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)  # whatever the umask is
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
