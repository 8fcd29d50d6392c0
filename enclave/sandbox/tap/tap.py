"""The tap: every message between a client and a kernel passes here, and none runs code without a record.

One poller, one request at a time in the kernel: a read by the kernel then belongs to exactly one cell, and which one
is said by the tap. Requests wait here in the order in which they came; when a cell fails, the cells that waited
behind it are aborted, as ipykernel does with its own queue.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

import zmq

from enclave.core.errors import EnclaveError, InvalidError
from enclave.runtime.log import Log
from enclave.sandbox.tap.answers import Answers
from enclave.sandbox.tap.asked import Asked
from enclave.sandbox.tap.journal import Journal
from enclave.sandbox.tap.legs import Legs, receive, send
from enclave.sandbox.tap.message import Leg, Message
from enclave.sandbox.tap.outputs import Ask, Outputs
from enclave.sandbox.tap.pieces import MAX_JOINED_BYTES, is_piece, joined, may_follow
from enclave.sandbox.tap.rules import HIDDEN_FEATURES, Channel, Rule, rule_for
from enclave.sandbox.tap.running import Running
from enclave.sandbox.tap.settings import TapSettings

_BATCH = 200  # messages taken from one socket before the others get their turn
_LOOK_MS = 5000  # how often an unused kernel looks at the clock
_REMEMBERED = 1 << 16  # ids kept to refuse replays, and a second request that would pass for the first
_LEAST_MESSAGE_BYTES = 1 << 20
_FAILED = ("error", "aborted")
_MAX_WAITING = 1000  # requests of clients behind the one that runs
_MAX_WAITING_BYTES = 64 << 20
_MAX_PINGS = 64
_MAX_PING_BYTES = 1024
_WAIT_MS = 200  # the same while an output waits for the launcher
_KERNEL_MS = 20  # the same while a kernel makes its sockets


class Tap:
    """Runs in one thread; ``journal`` writes in another."""

    def __init__(self, settings: TapSettings, *, journal: Journal, log: Log, ask: Ask) -> None:
        self._settings = settings
        self._journal = journal
        self._log = log
        limit = 2 * settings.display.cell.amount.bytes + _LEAST_MESSAGE_BYTES
        self._legs = Legs(front=settings.front, back=settings.back, max_message_bytes=limit)
        self._front = Leg(settings.front["key"].encode(), strict=True)
        self._back = Leg(settings.back["key"].encode(), strict=False)
        self._answers = Answers(self._send_front)
        self._asked = Asked()
        self._told_dropped: set[str] = set()
        self._pings: deque[list[Any]] = deque(maxlen=_MAX_PINGS)
        self._waiting: deque[tuple[Message, Rule]] = deque()
        self._running: Running | None = None
        self._recording = False
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._outputs = Outputs(
            settings,
            journal=journal,
            answers=self._answers,
            ask=ask,
            show=lambda message: self._send_front("iopub", message),
        )
        self._ahead: Message | None = None  # taken from the kernel's iopub and not yet offered
        self._last: Message | None = None  # where a word of ours stands when nothing runs
        self._over = ""  # why no request is taken any more
        self._frozen = False
        self._used = time.monotonic()
        self.idled = False
        self._poller = zmq.Poller()
        self._iopub_flags: int = zmq.POLLIN
        self._register()

    # ── the loop ────────────────────────────────────────────────────────────

    def run(self, control_fd: int, on_order: Any) -> None:
        """Until ``on_order()`` (called when ``control_fd`` is readable) returns False."""
        self._poller.register(control_fd, zmq.POLLIN)
        self._journal.attach(self._poller)
        while not self._idle_too_long():
            ready = dict(self._poller.poll(self._wait_ms()))
            self._journal.hear(ready)
            for name in ("control", "shell", "stdin", "hb"):
                if self._legs.front[name] in ready:
                    self._drain(self._legs.front[name], getattr(self, f"_front_{name}"))
                if self._legs.back[name] in ready:
                    self._drain(self._legs.back[name], getattr(self, f"_back_{name}"))
            if self._ahead is not None or self._legs.back["iopub"] in ready:
                self._take_outputs()
            if self._legs.front["iopub"] in ready:
                self._drain(self._legs.front["iopub"], self._subscribed)
            if control_fd in ready and not on_order():
                break
            self._outputs.look()
            self._listen_to_iopub()
            self._look_for_kernel()
        self._poller.unregister(control_fd)

    def _wait_ms(self) -> int:
        """How long the poller may sleep."""
        if self._legs.looking:
            return self._journal.wait_ms(_KERNEL_MS)
        if self._outputs.waiting:
            return self._journal.wait_ms(_WAIT_MS)
        return self._journal.wait_ms(_LOOK_MS) if self._ahead is None else 0

    def _look_for_kernel(self) -> None:
        for name in self._legs.look() if self._legs.looking else ():
            detail = {"channel": name, "message_type": "kernel_socket"}
            self._journal.refuse("cell.message", reason="not_a_socket", detail=detail)
            self.tell(f"The {name} channel of this kernel is not one that it made itself; restart it.\n")

    def _listen_to_iopub(self) -> None:
        """Takes outputs from the kernel, but none while one waits for the launcher."""
        flags = 0 if self._outputs.waiting else zmq.POLLIN
        if flags != self._iopub_flags:
            self._iopub_flags = flags
            self._poller.register(self._legs.back["iopub"], flags)

    def _idle_too_long(self) -> bool:
        """Whether no request came and none ran for the time after which a kernel is given back."""
        if self._running is not None or self._frozen:
            self._used = time.monotonic()
        self.idled = time.monotonic() - self._used > self._settings.idle_s
        return self.idled

    def close(self) -> None:
        """Ends a running cell in the record, then the sockets."""
        self.kernel_ended("kernel_stopped", restart=False)
        self._legs.close()

    def kernel_ended(self, reason: str, *, words: str = "", restart: bool = True) -> None:
        """The kernel is gone: its cell failed, what waited is aborted, the next kernel starts with clean sockets.

        ``words`` say to every request from then on why there is no kernel; empty when another one is on its way.
        """
        running = self._running
        if running is not None and not self._recording:
            text = words or "The kernel ended while this ran."
            self._answers.error(running.message, name="KernelEnded", text=f"{text} ({reason})", busy=False)
            running.status = running.status or "aborted"
            self._finish(running, "failed", reason)
        self._journal.kernel_ended()
        self._abort_waiting()
        self._over = words
        if restart:
            self._outputs.forget()
            self._ahead = None
            for sock in self._legs.back.values():
                self._poller.register(sock, 0)
            self._legs.connect_back()
            for sock in self._legs.back.values():
                self._poller.register(sock, zmq.POLLIN)
            self._iopub_flags = zmq.POLLIN

    def kernel_started(self) -> None:
        """There is a kernel, or one again."""
        self._over = ""
        self._legs.expect_kernel()
        self._journal.kernel_started()

    def name_notebook(self, name: str) -> None:
        """Cells that begin from now on are recorded with this name of their notebook."""
        self._journal.notebook = name

    def freeze(self, words: str) -> None:
        """The kernel is stopped and keeps what it has: nothing reaches it any more, and ``words`` say so."""
        self.tell(f"\n{words}\n")
        running = self._running
        self._over, self._frozen = words, True
        if running is not None and not self._recording:
            self._answers.error(running.message, name="KernelFrozen", text=words, busy=False)
            running.status = running.status or "aborted"
            self._finish(running, "failed", "kernel_frozen")
        self._abort_waiting()

    def display_answer(self, order: Any) -> None:
        """What the launcher said about the budgets of hour and day."""
        self._outputs.answer(order)

    def tell(self, text: str) -> None:
        """Shows ``text`` in the notebook: at the running cell, else at the last one."""
        parent = self._running.message if self._running is not None else self._last
        self._answers.stream(parent, text)

    # ── from the client ─────────────────────────────────────────────────────

    def _front_control(self, frames: list[bytes]) -> None:
        message = self._admit("control", frames)
        if message is not None and not self._refused_as_over("control", message):
            self._send_back("control", message)

    def _front_shell(self, frames: list[bytes]) -> None:
        message = self._admit("shell", frames)
        if message is None:
            return
        rule = rule_for("shell", message.kind)
        if self._refused_as_over("shell", message):
            return
        if rule is None or not rule.kind:
            self._send_back("shell", message)
            return
        self._used = time.monotonic()
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes() + message.size_bytes > _MAX_WAITING_BYTES:
            self._refuse_waiting(message, rule)
            return
        self._waiting.append((message, rule))
        self._advance()

    def _waiting_bytes(self) -> int:
        return sum(message.size_bytes for message, _ in self._waiting)

    def _refuse_waiting(self, message: Message, rule: Rule) -> None:
        words = "This was not run: too much waits for this kernel; send less at once."
        self._journal.refuse(rule.kind, reason="too_many_waiting")
        self._answers.refusal(message, kind=rule.kind, text=words)

    def _front_stdin(self, frames: list[bytes]) -> None:
        message = self._admit("stdin", frames)
        rule = rule_for("stdin", message.kind) if message is not None else None
        if message is None or rule is None or self._over:
            return
        cell = self._running.cell if self._running is not None else secrets.token_hex(16)
        answer = Running(message, rule, cell, time.monotonic())

        def recorded(_: Any, error: EnclaveError | None) -> None:
            if error is None:
                self._send_back("stdin", message)
                return
            self._journal.refuse(rule.kind, reason=error.code, cell=cell)
            self.tell(f"The answer was refused: {error.message}\n")

        self._journal.record_input(answer, recorded)

    def _front_hb(self, frames: list[bytes]) -> None:
        """A client hears its own bytes again when the kernel answers a ping of ours: neither hears the other's."""
        if sum(map(len, frames)) > _MAX_PING_BYTES:
            return
        if self._frozen:  # a frozen kernel is not a dead one
            send(self._legs.front["hb"], frames)
            return
        self._pings.append(frames)
        send(self._legs.back["hb"], (b"", b"ping"))

    def _refused_as_over(self, channel: Channel, message: Message) -> bool:
        """Whether there is no kernel that may run this; then the client hears why."""
        if not self._over:
            return False
        rule = rule_for(channel, message.kind)
        if rule is not None and rule.kind:
            self._journal.refuse(rule.kind, reason="kernel_frozen" if self._frozen else "kernel_ended")
        if message.kind == "execute_request":
            name = "KernelFrozen" if self._frozen else "KernelEnded"
            self._answers.error(message, name=name, text=self._over)
        elif rule is not None and rule.kind == "cell.comm":
            self._answers.stream(message, f"{self._over}\n", busy=True)
        elif self._frozen or (rule is not None and rule.kind):
            self._answers.refuse_on(channel, message, self._over)
        return True

    def _subscribed(self, frames: list[bytes]) -> None:
        if frames[0][:1] == b"\x01":
            self._answers.welcome(frames[0][1:])

    def _admit(self, channel: Channel, frames: list[bytes]) -> Message | None:
        """The message when it is signed, new and on the channel's list; everything else is refused and recorded."""
        try:
            message = self._front.read(frames)
            self._check_new(message)
        except InvalidError as error:
            self._journal.refuse("cell.message", reason=error.code, detail={"channel": channel})
            return None
        if rule_for(channel, message.kind) is not None:
            return message
        kind = "cell.execute" if message.kind == "execute_request" else "cell.message"
        detail = {"channel": channel, "message_type": message.kind[:64]}
        self._journal.refuse(kind, reason="message_not_allowed", detail=detail)
        if channel != "stdin":
            text = f"{message.kind[:64]} is not allowed on the {channel} channel of this enclave"
            self._answers.refuse_on(channel, message, text)
        return None

    def _check_new(self, message: Message) -> None:
        if message.id in self._seen:
            raise InvalidError("message: wanted a new one, got one that was sent before", code="replayed")
        self._seen[message.id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    # ── one request at a time ───────────────────────────────────────────────

    def _advance(self) -> None:
        if self._running is not None or not self._waiting:
            return
        message, rule = self._waiting.popleft()
        running = Running(message, rule, secrets.token_hex(16), time.monotonic())
        self._running, self._recording, self._last = running, True, message
        self._outputs.begin(running)

        def recorded(_: Any, error: EnclaveError | None) -> None:
            self._recording = False
            if error is None:
                running.started = time.monotonic()
                if self._over:  # meanwhile
                    self._running = None
                    self._journal.finish(running, outcome="failed", reason="kernel_ended", duration_s=0.0)
                    self._answers.error(message, name="KernelEnded", text=self._over)
                    return
                send(self._legs.back["shell"], frames)
            else:
                self._refused(running, error)

        self._journal.begin(running, recorded)
        asked = self._asked.to_kernel("shell", _for_kernel(message, rule))
        frames = self._back.write(asked)  # while the ledger writes

    def _refused(self, running: Running, error: EnclaveError) -> None:
        self._running = None
        self._journal.refuse(running.rule.kind, reason=error.code, cell=running.cell)
        text = f"This was not run: {error.message}"
        self._answers.refusal(running.message, kind=running.rule.kind, text=text)
        if running.rule.kind == "cell.execute":
            self._abort_waiting()
        self._advance()

    def _note_end(self, parent_id: str, *, idle: bool = False, status: str = "") -> None:
        running = self._running
        if running is None or self._recording or running.message.id != parent_id:
            return
        running.idle = running.idle or idle
        running.status = status or running.status
        if not running.done:
            return
        failed = running.status in _FAILED
        self._finish(running, "failed" if failed else "ok", "cell_error" if failed else None)
        self._advance()

    def _stops_others(self, request_id: str) -> bool:
        running = self._running
        return (
            running is not None
            and not self._recording
            and running.message.id == request_id
            and running.rule.kind == "cell.execute"
            and bool(running.message.content.get("stop_on_error", True))
        )

    def _finish(self, running: Running, outcome: str, reason: str | None) -> None:
        self._running = None
        self._outputs.end()
        duration = time.monotonic() - running.started
        self._journal.finish(running, outcome=outcome, reason=reason, duration_s=duration)

    def _abort_waiting(self) -> None:
        kept: deque[tuple[Message, Rule]] = deque()
        for message, rule in self._waiting:
            if rule.kind == "cell.execute":
                self._answers.aborted(message)
            else:
                kept.append((message, rule))
        self._waiting = kept

    # ── from the kernel ─────────────────────────────────────────────────────

    def _back_control(self, frames: list[bytes]) -> None:
        self._pass_reply("control", frames)

    def _back_shell(self, frames: list[bytes]) -> None:
        message = self._pass_reply("shell", frames)
        if message is not None and message.kind.endswith("_reply"):
            status = str(message.content.get("status", "ok"))[:16]
            if status in _FAILED and self._stops_others(message.parent_id):
                self._abort_waiting()  # now, before the client can send a cell that knows of the failure
            self._note_end(message.parent_id, status=status)

    def _back_stdin(self, frames: list[bytes]) -> None:
        self._pass_reply("stdin", frames)

    def _back_hb(self, _frames: list[bytes]) -> None:
        while self._pings:
            send(self._legs.front["hb"], self._pings.popleft())

    def _take_outputs(self) -> None:
        """Offers what the kernel said on iopub, pieces of a stream that lie together as one; none while one waits."""
        for _ in range(_BATCH):
            if self._outputs.waiting:
                return
            message, self._ahead = self._ahead or self._next_output(), None
            if message is None:
                return
            if is_piece(message):
                message = self._with_more(message)
            self._outputs.offer(message, self._running_as(message.parent_id))
            if message.kind == "status" and message.content.get("execution_state") == "idle":
                self._note_end(message.parent_id, idle=True)

    def _with_more(self, first: Message) -> Message:
        """``first`` with the pieces that lie behind it; the message behind those is kept for the next turn."""
        pieces, size = [first], first.size_bytes
        while (more := self._next_output()) is not None:
            size += more.size_bytes
            if size > MAX_JOINED_BYTES or not may_follow(first, more):
                self._ahead = more
                break
            pieces.append(more)
        return joined(pieces)

    def _next_output(self) -> Message | None:
        """The next message of the kernel's iopub, or None when none is there."""
        while True:
            try:
                message = self._read_back(receive(self._legs.back["iopub"]))
            except zmq.Again:
                return None
            if message is not None and message.kind != "iopub_welcome":
                return self._asked.output(message)

    def _running_as(self, parent_id: str) -> Running | None:
        running = self._running
        return running if running and not self._recording and running.message.id == parent_id else None

    def _pass_reply(self, channel: Channel, frames: list[bytes]) -> Message | None:
        heard = self._read_back(frames)
        if heard is None:
            return None
        message = self._asked.answer(channel, heard)
        if message is None:
            self._dropped("not_asked_for")
            return None
        if message.kind == "kernel_info_reply":
            message = message.with_content(_without_hidden(message.content))
        shown = self._outputs.reply(message, self._running_as(message.parent_id))
        self._send_front(channel, shown)
        return message

    def _read_back(self, frames: Sequence[Any]) -> Message | None:
        try:
            return self._back.read(frames)
        except InvalidError as error:
            self._dropped(error.code)
            return None

    def _dropped(self, code: str) -> None:
        """A kernel may send as much of it as it likes: the log has each reason once."""
        if code not in self._told_dropped:
            self._told_dropped.add(code)
            self._log.warning("message from kernel dropped", kernel=self._settings.kernel, code=code)

    # ── sending ─────────────────────────────────────────────────────────────

    def _send_front(self, channel: str, message: Message) -> None:
        send(self._legs.front[channel], self._front.write(message))

    def _send_back(self, channel: Channel, message: Message) -> None:
        send(self._legs.back[channel], self._back.write(self._asked.to_kernel(channel, message)))

    def _register(self) -> None:
        for sock in (*self._legs.front.values(), *self._legs.back.values()):
            self._poller.register(sock, zmq.POLLIN)

    @staticmethod
    def _drain(sock: zmq.Socket[bytes], handle: Any) -> None:
        for _ in range(_BATCH):
            try:
                frames = receive(sock)
            except zmq.Again:
                return
            handle(frames)


def _for_kernel(message: Message, rule: Rule) -> Message:
    """What waits behind a failed cell waits here, so here it is aborted; a kernel that did it too would hit the next
    cell by chance."""
    if rule.kind != "cell.execute":
        return message
    return message.with_content({**message.content, "stop_on_error": False})


def _without_hidden(content: dict[str, Any]) -> dict[str, Any]:
    features = content.get("supported_features")
    shown = [one for one in features if one not in HIDDEN_FEATURES] if isinstance(features, list) else []
    return {**content, "supported_features": shown, "debugger": False}
