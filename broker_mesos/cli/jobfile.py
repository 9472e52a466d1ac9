"""Reads job files: the flags of ``bmesos submit`` as keys, in YAML or TOML."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from broker_mesos.client.names import shown
from broker_mesos.client.options import JobOptions, declared_in
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.toml_reader import parse_toml

_MAX = 1 << 20
_TYPES: dict[str, tuple[type, ...]] = {
    "command": (str, list),
    **{name: option.file for name, option in declared_in(JobOptions).items()},
    "wait": (bool,),
}
KEYS = tuple(_TYPES)
_NAMES = {
    str: "text",
    list: "a list",
    int: "a number",
    float: "a number",
    dict: "a table",
    bool: "true or false",
}


def is_job_file(word: str) -> bool:
    """Whether a word names a job file rather than a command."""
    return word.lower().endswith((".yaml", ".yml", ".toml"))


def read_table(path: Path, example: str = "eng: {limit: 'cpus:8'}") -> dict[Any, Any]:
    """A YAML or TOML file that is a table. Raises InvalidInput, in one line that names the file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > _MAX:
        raise InvalidInput(f"{path}: such a file has at most {_MAX} bytes, this one {len(raw)}")
    content = _parse(path, raw)
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: the file is a table of keys, as in `{example}`")
    return content


def read(path: Path) -> dict[str, Any]:
    """What a job file says. Raises InvalidInput, in one line that names the file."""
    content: dict[str, Any] = read_table(path, "command: [echo, hello]")
    for key, value in content.items():
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(KEYS)}"
            raise InvalidInput(f"{path}: unknown key {shown(key)}; {hint}")
        _check(path, key, value)
    if path.suffix.lower() == ".toml":
        for name, value in content.get("env", {}).items():
            # Read as numbers, 3.10 and 0x1F would arrive as 3.1 and 31.
            if not isinstance(value, str):
                raise InvalidInput(f"{path}: env {name[:80]}: {shown(value)} is not text; put it in quotes")
    return content


def _parse(path: Path, raw: bytes) -> Any:
    try:
        text = raw.decode()
        if path.suffix.lower() == ".toml":
            try:
                return parse_toml(text)
            except InvalidInput as error:
                raise InvalidInput(f"{path}: not TOML: {error}") from None
        import yaml

        from broker_mesos.cli.yaml_reader import read_yaml

        try:
            return read_yaml(text)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from None
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f" line {mark.line + 1}," if mark else ""
            raise InvalidInput(
                f"{path}:{place} not YAML: {getattr(error, 'problem', None) or 'too deeply nested'}"
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            # Of the parser's own conversions: of a number of thousands of digits, and of `!!int x`.
            raise InvalidInput(
                f"{path}: not YAML: a number has too many digits, or a value does not fit its tag"
            ) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text") from None


def _check(path: Path, key: str, value: Any) -> None:
    wanted = _TYPES[key]
    # In Python true is a number, too; in a job file it is a mistake.
    fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
    if fits and isinstance(value, list):
        fits = all(isinstance(each, str) for each in value)
        if not fits:
            raise InvalidInput(f"{path}: {key} is a list of texts; put numbers in quotes")
    if not fits:
        names = dict.fromkeys(_NAMES[each] for each in wanted)
        raise InvalidInput(f"{path}: {key} is {' or '.join(names)}, not {shown(value)}")
