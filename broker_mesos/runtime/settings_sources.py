"""Where the values of settings come from: flags, variables, files that hold a secret, and the settings file."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.secrets import remember, remember_token
from broker_mesos.runtime.toml_reader import parse_toml

PREFIX = "BMESOS_"
SECRET_FILE_MAX_BYTES = 65_536
"""Maximum size of a file that holds a secret, in bytes."""
_SIMILAR_NAMES = 0.8
"""Similarity of two names from which on one is taken for a misspelling of the other."""


class Sources:
    """The sources of the settings of one process, as they were when this was made. Problems with one source do not
    keep the others from being read."""

    def __init__(
        self,
        names: Collection[str],
        secrets: Collection[str],
        path: Path,
        flags: Mapping[str, Any],
        *,
        required: bool,
        tokens: Collection[str] = (),
    ) -> None:
        """``names`` are all settings, and ``secrets`` those of them that files may hold; ``tokens`` are the secrets
        that are no URLs. ``flags`` are those that were given, and ``path`` is the settings file, which may be absent
        unless it is ``required``."""
        self.path = path
        self.flags = flags
        self.problems: list[str] = []
        """What keeps the settings from being read, one line each."""
        self._text = ""
        self._stored: dict[str, Any] = {}
        self._secrets: dict[str, str] = {}
        self._broken: set[str] = set()
        """Settings whose file could not be read."""
        self._read_settings_file(names, required)
        for name in secrets:
            self._read_secret(name)
        for name in secrets:
            for value in (flags.get(name), environ(variable(name)), self._secrets.get(name), self._stored.get(name)):
                if isinstance(value, str):
                    (remember_token if name in tokens else remember)(value)

    def values(self) -> dict[str, Any]:
        """The values that are not in variables, by setting."""
        stored = {name: value for name, value in self._stored.items() if not environ(variable(name))}
        return {**stored, **self._secrets, **self.flags}

    def is_readable(self, name: str) -> bool:
        """Whether the source of a setting could be read."""
        return name not in self._broken

    def origin(self, name: str) -> str:
        """Where the value of a setting comes from: ``--flag``, a variable, the file that a variable names, a line of
        the settings file, or ``default``."""
        if name in self.flags:
            return f"--{name.replace('_', '-')}"
        if environ(variable(name)):
            return variable(name)
        if name in self._secrets or name in self._broken:
            return f"{variable(name)}_FILE"
        if name in self._stored:
            line = _line_of(self._text, name)
            return f"{self.path}:{line}" if line else str(self.path)
        return "default"

    def warnings(self, secrets: Mapping[str, str]) -> list[str]:
        """What works and is probably not meant, one line each. ``secrets`` are values that nobody else may read, by
        setting."""
        found = []
        for name, shown in secrets.items():
            path = environ(f"{variable(name)}_FILE") if name in self._secrets else str(self.path)
            if (name in self._secrets or name in self._stored) and shown and _all_may_read(path):
                found.append(f"{path}: every user of this machine can read the password in it: chmod 600 {path}")
        return list(dict.fromkeys(found))

    def _read_settings_file(self, names: Collection[str], required: bool) -> None:
        try:
            self._text = self.path.read_text(encoding="utf-8")
            stored = parse_toml(self._text)
        except FileNotFoundError:
            if required:
                self.problems.append(f"no such settings file: {self.path}")
            return
        except (InvalidInput, UnicodeDecodeError) as error:
            where = f"byte {error.start} is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            self.problems.append(f"{self.path} is not TOML: {where}")
            return
        except OSError as error:
            self.problems.append(f"cannot read {self.path}: {_reason(error)}")
            return
        for name, value in stored.items():
            if name in names:
                self._stored[name] = value
            else:
                self.problems.append(f"{self.path}: unknown setting {name[:80]!r}{_similar(name, names)}")

    def _read_secret(self, name: str) -> None:
        setting, file = variable(name), f"{variable(name)}_FILE"
        path = environ(file)
        if not path or name in self.flags:
            return
        if environ(setting):
            self.problems.append(f"both {setting} and {file} are set: keep one")
            return
        try:
            with open(path, "rb") as stream:
                data = stream.read(SECRET_FILE_MAX_BYTES + 1)
            text = data.decode().strip()
            problem = f"it is larger than {SECRET_FILE_MAX_BYTES} bytes" if len(data) > SECRET_FILE_MAX_BYTES else ""
            problem = problem or ("" if text else "it is empty")
        except (OSError, UnicodeDecodeError) as error:
            problem = _reason(error)
        if problem:
            self._broken.add(name)
            self.problems.append(f"{file}: cannot read {path}: {problem}")
        else:
            self._secrets[name] = text


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def environ(name: str) -> str:
    """The value of an environment variable; empty if it is not set. Variables match in any case, as pydantic-settings
    reads them; errors name the usual spelling."""
    value = os.environ.get(name)
    if value is None:
        value = next((text for key, text in os.environ.items() if key.upper() == name), "")
    return value


def odd_variables(names: Collection[str], secrets: Collection[str]) -> list[str]:
    """A line about each variable that is probably meant to be a setting, and is none."""
    found = []
    for key in sorted(os.environ):
        name = key.upper().removeprefix(PREFIX).lower()
        base = name.removesuffix("_file")
        if not key.upper().startswith(PREFIX) or name in names or base in secrets:
            continue
        if base != name and base in names:
            found.append(f"{key} is ignored: only secrets come from files; set {variable(base)}")
        elif close := difflib.get_close_matches(base, names, n=1, cutoff=_SIMILAR_NAMES):
            suffix = "_FILE" if base != name and close[0] in secrets else ""
            found.append(f"{key} is ignored: there is no such setting; did you mean {variable(close[0])}{suffix}?")
    return found


def _similar(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _line_of(text: str, name: str) -> int:
    """The number of the line on which a setting begins: a key at the top level of a TOML text, or a table's head."""
    key = rf"""(?:{name}|"{name}"|'{name}')\s*"""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*(?:{key}[.=]|\[\s*{key}[\].])", line):
            return number
    return 0


def _all_may_read(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & 0o004)
    except OSError:
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not text"


def refuse(problems: list[str]) -> None:
    """Raise InvalidInput with the first of these problems, if there is one."""
    if problems:
        raise InvalidInput(problems[0])
