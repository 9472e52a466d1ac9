"""Parses TOML. Python's parser leaves numbers of thousands of digits and deep nesting to its callers."""

from __future__ import annotations

import tomllib
from typing import Any

from broker_mesos.errors import InvalidInput


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a TOML text is. Raises InvalidInput with the reason why it is none, such as ``Expected '=' after
    a key in a key/value pair (at line 1, column 5)``; callers put the name of the file before it."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InvalidInput("it is nested too deeply") from None
    except ValueError as error:
        known = isinstance(error, tomllib.TOMLDecodeError)
        raise InvalidInput(str(error) if known else "a number in it has too many digits") from None
