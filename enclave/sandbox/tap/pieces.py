"""Pieces of one stream that lie together are shown as one: the same text, fewer messages for tap and browser. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from enclave.sandbox.tap.message import Message

MAX_JOINED_BYTES: Final = 64 << 10


def is_piece(message: Message) -> bool:
    """Whether it is text on a stream and nothing else, small enough to be joined with others."""
    content = message.content
    return (
        message.kind == "stream"
        and message.plain  # half a character at an end would become a whole one with the next piece
        and len(content) == 2
        and type(content.get("text")) is str
        and content.get("name") in ("stdout", "stderr")
        and message.size_bytes < MAX_JOINED_BYTES
        and not message.metadata
        and not message.buffers
    )


def may_follow(first: Message, more: Message) -> bool:
    """Whether ``more`` goes on where the piece ``first`` ends: the same stream of the same request."""
    return (
        is_piece(more)
        and more.content["name"] == first.content["name"]
        and more.parent == first.parent
        and more.identities == first.identities
    )


def joined(pieces: Sequence[Message]) -> Message:
    """One message with the text of all and the size of all, so that budgets count the same."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    content = {"name": first.content["name"], "text": "".join(one.content["text"] for one in pieces)}
    size = sum(one.size_bytes for one in pieces)
    return replace(first, content=content, size_bytes=size, plain=all(one.plain for one in pieces))
