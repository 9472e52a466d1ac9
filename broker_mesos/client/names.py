"""The default id, name and user of a job."""

from __future__ import annotations

import contextlib
import os

from broker_mesos.errors import InvalidInput

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # without i, l, o and u: read aloud, copied by hand
_ID_LENGTH = 10  # 50 bits


def new_job_id() -> str:
    """A fresh job id: short, lower case, without letters that look alike."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(_ID_LENGTH))


def not_an_id(text: str) -> str:
    """The message of an error about an id that nothing can have."""
    return f"{text[:64]!r} is not an id: letters, digits, '.', '_' and '-', a letter or digit first"


def shown(value: object) -> str:
    """A value that somebody gave, for a line of an error: at most 80 characters, with control characters escaped."""
    try:
        text = repr(value[:81] if isinstance(value, str) else value)
    except ValueError:
        return "a number of thousands of digits"  # Python writes at most 4,300 of them
    return text if len(text) <= 82 else text[:80] + "…"


def name_of(first: str, shell: bool) -> str:
    """A job's name after the first word of its command, or after the first line for the shell."""
    name = first.strip().splitlines()[0] if shell and first.strip() else os.path.basename(first)
    name = "".join(each if each.isprintable() else "?" for each in name).strip()
    return name if len(name) <= 40 else name[:39] + "…"


def check_name(name: str) -> str:
    """A name that somebody gave to a job. Raises InvalidInput if it is blank or has control characters."""
    if not name.strip():
        raise InvalidInput("name is blank; write a word, or leave it out to use the command's")
    if not name.isprintable():
        from unicodedata import category

        # What joins letters of a script (Cf) and other blanks (Zs) are fine in a name.
        for each in name:
            if category(each) in ("Cc", "Zl", "Zp"):
                raise InvalidInput(f"name {name[:64]!r}: {each!r} is a control character; write the name in one line")
    return name


def user_name() -> str:
    """Who we are, if that is known."""
    import getpass

    with contextlib.suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return ""
