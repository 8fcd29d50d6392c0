"""What of a kernel's message may reach the browser, and how much it weighs. Pure.

Everything is written anew from what is known: a message of an unknown kind, a type that is not on the list, metadata
and buffers that nobody asked for do not pass. Header, parent and routing are those of ``asked`` already.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from enclave.sandbox.tap.amounts import Amount, size_words
from enclave.sandbox.tap.fields import COMMS, whole
from enclave.sandbox.tap.markup import clean_html
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.pictures import clean_picture
from enclave.sandbox.tap.policy import ACTIVE_TYPES, DisplayPolicy

OTHER: Final = "another type"  # a name that nobody knows may hold anything
OUTPUTS: Final = frozenset({"stream", "display_data", "execute_result", "update_display_data", "error"})
SIGNALS: Final = frozenset({"status", "execute_input", "clear_output"})
PICTURES: Final = frozenset({"image/png", "image/jpeg"})
MAX_REPLY_BYTES: Final = 1 << 20
WHY: Final = {
    "mime_type": "this project does not show this type",
    "html_size": "the HTML is larger than this project shows at once",
    "html_active": "nothing is left of the HTML without what runs or loads",
    "not_a_picture": "these bytes are no picture of this type",
    "not_text": "this type holds text only",
    "comm": "messages between kernel and browser (widgets, progress bars of tqdm.notebook) are not shown",
    "message_kind": "messages of this kind are not shown",
    "reply_size": "an answer to the browser is larger than it may be",
}
KNOWN_TYPES: Final = ACTIVE_TYPES | {
    *("text/plain", "text/html", "text/latex", "text/markdown", "image/png", "image/jpeg", "image/gif"),
    *("application/json", "application/geo+json", "application/vnd.jupyter.widget-view+json"),
    *("application/vnd.plotly.v1+json", "application/vnd.bokehjs_exec.v0+json", "application/vnd.bokehjs_load.v0+json"),
    *("application/vnd.vegalite.v5+json", "application/vnd.vega.v5+json", "application/vnd.dataresource+json"),
}
_LONG: Final = 4096  # characters
_FEW: Final = 64
_STATES: Final = frozenset({"busy", "idle", "starting", "dead"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that is not shown: by which rule, its type and size."""

    rule: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """``message`` None: nothing of it passes. ``removed``: parts of HTML that could run or load and were left out."""

    message: Message | None
    amount: Amount
    refusals: tuple[Refusal, ...] = ()
    removed: int = 0


def judge(message: Message, policy: DisplayPolicy) -> Verdict:
    """One message on iopub."""
    kind = message.kind
    if kind == "stream":
        return _stream(message)
    if kind in SIGNALS:
        return _signal(message)
    if kind == "error":
        return _error(message)
    if kind in OUTPUTS:
        return _display(message, policy)
    if kind in COMMS and policy.comms:
        return Verdict(message, Amount(message.size_bytes))
    refusal = (
        Refusal("comm", kind, message.size_bytes)
        if kind in COMMS
        else Refusal("message_kind", OTHER, message.size_bytes)
    )
    return Verdict(None, Amount(), (refusal,))


def judge_reply(message: Message, policy: DisplayPolicy) -> Verdict:
    """One answer on another channel: what of it shows something is held to the same list."""
    content = message.content
    refusals: tuple[Refusal, ...] = ()
    rows = images = removed = 0
    parts: list[tuple[dict[str, Any], str]] = []
    if message.kind == "inspect_reply":
        content = dict(content)
        parts = [(content, "data")]
    elif message.kind == "execute_reply":
        content = {**content, "payload": _payload(content.get("payload"))}
        shown = content.get("user_expressions")
        content["user_expressions"] = {
            str(name)[:256]: dict(value) for name, value in shown.items() if isinstance(value, dict)
        } if isinstance(shown, dict) else {}  # fmt: skip
        parts = [(value, "data") for value in content["user_expressions"].values() if "data" in value]
        parts += [(one, "data") for one in content["payload"] if "data" in one]
    for holder, name in parts:
        bundle = _bundle(holder.get(name), policy)
        holder[name], holder["metadata"] = bundle.data, {}
        refusals += bundle.refusals
        rows, images, removed = rows + bundle.rows, images + bundle.images, removed + bundle.removed
    amount = Amount(message.size_bytes, images, rows)
    if message.size_bytes > MAX_REPLY_BYTES:
        refusals += (Refusal("reply_size", "reply", message.size_bytes),)
        return Verdict(short_reply(message), Amount(), refusals, removed)
    return Verdict(replace(message, content=content, metadata={}, buffers=()), amount, refusals, removed)


def short_reply(message: Message) -> Message:
    """The answer without anything to show: the client must hear one."""
    status = message.content.get("status")
    status = status if status in ("ok", "error", "aborted") else "ok"
    content: dict[str, Any] = {"status": status}
    match message.kind:
        case "execute_reply":
            count = whole(message.content.get("execution_count"))
            content |= {"execution_count": count, "user_expressions": {}, "payload": []}
            content |= {"ename": "Error", "evalue": "", "traceback": []} if status == "error" else {}
        case "complete_reply":
            content |= {"matches": [], "cursor_start": 0, "cursor_end": 0, "metadata": {}}
        case "inspect_reply":
            content |= {"found": False, "data": {}, "metadata": {}}
        case "history_reply":
            content |= {"history": []}
        case _:
            content |= {"comms": {}} if message.kind == "comm_info_reply" else {}
    return replace(message, content=content, metadata={}, buffers=())


def placeholder(refusal: Refusal, *, note: str) -> str:
    """What stands where an output would have stood; ``note`` says what is left of the budget."""
    why = WHY.get(refusal.rule, refusal.rule)
    return f"[enclave] Not shown: {refusal.mime}, {size_words(refusal.size)}. Rule {refusal.rule}: {why}. {note}"


def with_placeholder(message: Message, text: str) -> Message:
    """The display ``message`` with nothing but ``text``."""
    content = {"data": {"text/plain": text}, "metadata": {}, **_frame(message)}
    return replace(message, content=content, metadata={}, buffers=())


# ── kinds ───────────────────────────────────────────────────────────────────


def _stream(message: Message) -> Verdict:
    text, name = message.content.get("text"), message.content.get("name")
    if not isinstance(text, str) or name not in ("stdout", "stderr"):
        return Verdict(None, Amount(), (Refusal("not_text", "stream", message.size_bytes),))
    amount = Amount(message.size_bytes, 0, _lines(text))
    if not message.metadata and not message.buffers and len(message.content) == 2:
        return Verdict(message, amount)
    return Verdict(replace(message, content={"name": name, "text": text}, metadata={}, buffers=()), amount)


def _signal(message: Message) -> Verdict:
    content: dict[str, Any]
    match message.kind:
        case "status":
            state = message.content.get("execution_state")
            if state not in _STATES:
                return Verdict(None, Amount(), (Refusal("message_kind", "status", message.size_bytes),))
            content = {"execution_state": state}
        case "clear_output":
            content = {"wait": bool(message.content.get("wait"))}
        case _:
            if not message.needed:
                return Verdict(None, Amount(), (Refusal("message_kind", "execute_input", message.size_bytes),))
            content = {"code": "", "execution_count": whole(message.content.get("execution_count"))}
    size = message.size_bytes
    return Verdict(replace(message, content=content, metadata={}, buffers=()), Amount(size))


def _error(message: Message) -> Verdict:
    content = message.content
    trace = content.get("traceback")
    lines = [str(line) for line in trace] if isinstance(trace, list) else []
    kept = {"ename": str(content.get("ename", "")), "evalue": str(content.get("evalue", "")), "traceback": lines}
    rows = sum(line.count("\n") + 1 for line in (*lines, kept["evalue"]))
    return Verdict(replace(message, content=kept, metadata={}, buffers=()), Amount(message.size_bytes, 0, rows))


def _display(message: Message, policy: DisplayPolicy) -> Verdict:
    found = _bundle(message.content.get("data"), policy)
    if not found.data:
        refusals = found.refusals or (Refusal("mime_type", OTHER, message.size_bytes),)
        return Verdict(None, Amount(), refusals, found.removed)
    if found.refusals and set(found.data) == {"text/plain"}:
        widest = max(found.refusals, key=lambda one: one.size)
        found.data["text/plain"] += f"\n[enclave] Shown as text: {WHY[widest.rule]} ({widest.mime})."
    sizes = message.content.get("metadata")
    content = {"data": found.data, "metadata": _picture_sizes(sizes, found.data), **_frame(message)}
    amount = Amount(message.size_bytes, found.images, found.rows)
    if content == message.content and not message.metadata and not message.buffers:
        return Verdict(message, amount, found.refusals, found.removed)  # as it came: its spelling may be kept
    return Verdict(replace(message, content=content, metadata={}, buffers=()), amount, found.refusals, found.removed)


def _frame(message: Message) -> dict[str, Any]:
    """What a display message needs beside its data."""
    frame: dict[str, Any] = {}
    if message.kind == "execute_result":
        frame["execution_count"] = whole(message.content.get("execution_count"))
    transient = message.content.get("transient")
    display = transient.get("display_id") if isinstance(transient, dict) else None
    if isinstance(display, str) and len(display) <= 128:
        frame["transient"] = {"display_id": display}
    elif message.kind != "execute_result":
        frame["transient"] = {}
    return frame


# ── types ───────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Found:
    data: dict[str, Any]
    refusals: tuple[Refusal, ...] = ()
    images: int = 0
    rows: int = 0
    removed: int = 0


def _bundle(data: Any, policy: DisplayPolicy) -> _Found:
    found = _Found({})
    for mime, value in data.items() if isinstance(data, dict) else ():
        rule = _take(found, mime, value, policy)
        if rule:
            found.refusals += (Refusal(rule, mime if mime in KNOWN_TYPES else OTHER, _size(value)),)
    return found


def _take(found: _Found, mime: str, value: Any, policy: DisplayPolicy) -> str:
    """Puts what may be shown into ``found``; the rule that it breaks otherwise."""
    if mime not in policy.mime_types:
        return "mime_type"
    text = _joined(value)
    if text is None:
        if mime.startswith(("text/", "image/")):
            return "not_text"
        found.data[mime] = value
        return ""
    if mime == "text/html":
        return _take_html(found, text, policy)
    if mime in PICTURES:
        picture = clean_picture(mime, text)
        if picture is None:
            return "not_a_picture"
        found.data[mime] = picture
        found.images += 1
        return ""
    if mime == "text/markdown":
        text = text.replace("<", "&lt;")  # Markdown may hold HTML
    found.data[mime] = text
    found.rows = max(found.rows, _lines(text) + 1)
    return ""


def _take_html(found: _Found, text: str, policy: DisplayPolicy) -> str:
    if len(text) > policy.html_kb << 10:
        return "html_size"
    cleaned = clean_html(text)
    found.removed += cleaned.removed
    if not cleaned.html.strip():
        return "html_active"
    found.data["text/html"] = cleaned.html
    found.rows = max(found.rows, cleaned.rows)
    return ""


def _lines(text: str) -> int:
    """How often a line ends in ``text``; few of them in much text are looked for, which is ten times as fast."""
    found, at = 0, -1
    while len(text) - at > _LONG and found < _FEW:
        at = text.find("\n", at + 1)
        if at < 0:
            return found
        found += 1
    return found + text.count("\n", at + 1)


def _joined(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "".join(value)
    return None


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value))


def _picture_sizes(metadata: Any, data: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for mime in PICTURES & data.keys():
        sizes = metadata.get(mime) if isinstance(metadata, dict) else None
        if isinstance(sizes, dict):
            kept[mime] = {name: sizes[name] for name in ("width", "height") if type(sizes.get(name)) in (int, float)}
    return kept


def _payload(payload: Any) -> list[dict[str, Any]]:
    """Of what a cell asks the front end to do: show a page, put text into the next cell."""
    kept: list[dict[str, Any]] = []
    for one in payload if isinstance(payload, list) else ():
        if not isinstance(one, dict):
            continue
        if one.get("source") == "page":
            start = one.get("start")
            kept.append({"source": "page", "data": one.get("data"), "start": start if type(start) is int else 0})
        elif one.get("source") == "set_next_input" and isinstance(one.get("text"), str):
            kept.append({"source": "set_next_input", "text": one["text"], "replace": bool(one.get("replace"))})
        elif one.get("source") == "ask_exit":
            kept.append({"source": "ask_exit", "keepkernel": bool(one.get("keepkernel"))})
    return kept
