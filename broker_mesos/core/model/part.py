"""The base class of immutable values with a JSON form, and the bounded texts that they are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

ID_TAIL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,"


MAX_ID = 128
"""The longest id, in characters."""
ID_PATTERN = rf"^{ID_TAIL}{MAX_ID - 1}}}$"


Ident = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""The id of an agent, framework, job or process: at most 128 characters, safe as a file name and queue name."""


def whole_number(text: str) -> int | None:
    """The number that a text of decimal digits means; None for another text, or for one of more than 18 digits, which
    Python takes long to convert, or refuses to."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


_IDENT = re.compile(ID_PATTERN)


def is_ident(text: str) -> bool:
    """Whether a text is a valid ``Ident``."""
    return _IDENT.fullmatch(text) is not None


TaskId = Annotated[str, StringConstraints(pattern=rf"^{ID_TAIL}254}}$")]


MAX_SHORT = 255
"""Characters of a name in a message."""
Short = Annotated[str, StringConstraints(max_length=MAX_SHORT)]


Prose = Annotated[str, StringConstraints(max_length=16_384)]
"""Free text. Its length is bounded, since up to 500 statuses are sent in one message."""


class Part(BaseModel):
    """An immutable value inside messages and records. Unknown fields are ignored when it is decoded."""

    # Infinity and NaN have no JSON: what is stored with one of them could not be read again.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)

    def encode(self) -> bytes:
        """The value as JSON; fields with their default values are left out."""
        encoded: bytes = self.__pydantic_serializer__.to_json(self, exclude_defaults=True)
        return encoded


JsonObject = dict[str, Any]
