"""The standard input of a task, which is sent with its description: at most MAX_STDIN_BYTES, in base64."""

from __future__ import annotations

from base64 import b64decode, b64encode

from broker_mesos.errors import InvalidInput

MAX_STDIN_BYTES = 128 << 10
"""The largest input of a task, in bytes. It travels with every task of a job, and stays in the store with the job."""
MAX_STDIN_CHARS = (MAX_STDIN_BYTES + 2) // 3 * 4


def encode_stdin(data: bytes, source: str = "the input") -> str:
    """The input as text. Raises InvalidInput, naming the ``source``, if it is too large."""
    if len(data) > MAX_STDIN_BYTES:
        raise InvalidInput(
            f"{source} has more than {MAX_STDIN_BYTES} bytes, which is the most that goes along with a job; let the"
            " command read a file that its agent has"
        )
    return b64encode(data).decode()


def decode_stdin(text: str) -> bytes:
    """The input of a task. Raises InvalidInput if the text is not base64."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput("stdin is not base64") from None
