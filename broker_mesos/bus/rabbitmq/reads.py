"""How a connection of pika's reads: many frames at a time."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pika import spec
from pika.frame import Body, Header, Method, decode_frame

_SIZE = struct.Struct(">L")
_SIZE_AT = 3
_AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE


def cut_reads(connection: Any, on_confirm: Callable[[Any], None] | None = None) -> None:
    """Cut what was read into frames in one go: pika copies all that is left of it for each frame. And hand on
    deliveries and confirms straight away: pika looks for callbacks under several names before each.

    ``on_confirm`` is what the connection's only confirming channel would be called back with.
    """
    process = connection._process_frame

    def on_data(data: bytes) -> None:
        data = connection._frame_buffer + data
        at, end = 0, len(data)
        try:
            while end - at >= _AROUND:
                # What is no frame at all (the broker speaks another protocol) has a size that never comes.
                size = _SIZE.unpack_from(data, at + _SIZE_AT)[0] + _AROUND
                if end - at < size:
                    break
                frame = data[at : at + size]
                at += size
                connection.bytes_received += size
                take(decode_frame(frame)[1])
        finally:
            connection._frame_buffer = data[at:]

    def take(frame: Any) -> None:
        kind = type(frame)
        method = type(frame.method) if kind is Method else None
        if method is spec.Basic.Ack and on_confirm is not None:
            connection.frames_received += 1
            on_confirm(frame)
        elif method is spec.Basic.Deliver or kind is Body or kind is Header:
            connection.frames_received += 1
            connection._deliver_frame_to_channel(frame)
        else:
            process(frame)

    connection._on_data_available = on_data
