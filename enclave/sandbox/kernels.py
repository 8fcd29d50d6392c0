"""Kernels: who may start one, where its folders lie, and that nothing of it outlives it."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave.audit.event import Event
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, NotFoundError
from enclave.sandbox import kernel_process
from enclave.sandbox.cgroups import Group
from enclave.sandbox.kernel_process import KernelPlan
from enclave.sandbox.kernel_rights import Rights, kernel_rights
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import make_dir, short
from enclave.sandbox.sandboxed import HostUser, Sandbox, end_process
from enclave.sandbox.tap.settings import IDLE_EXIT
from enclave.sandbox.workshop import Workshop
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, broker, launcher


@dataclass(slots=True, kw_only=True)
class Kernel:
    """One kernel id; its sandbox may be replaced by a restart, its tap and endpoints stay."""

    plan: KernelPlan
    rights: Rights
    tap: subprocess.Popen[bytes]
    connection: dict[str, Any]
    started: str
    sandbox: Sandbox | None = None
    user: HostUser = field(default_factory=lambda: HostUser(None))
    group: Group = field(default_factory=Group)
    born: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    end_reason: str = ""
    guard: threading.RLock = field(default_factory=threading.RLock)
    doors: threading.Lock = field(default_factory=threading.Lock)  # held while its sockets are opened or closed
    turn: int = 0  # how often they were opened

    @property
    def id(self) -> str:
        """The kernel's id, 32 hex digits."""
        return self.plan.id

    @property
    def owner(self) -> Owner:
        """Whose socket it was started on."""
        return self.plan.owner


class Kernels:
    """All kernels of this launcher."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._places = workshop.places
        self._limits = workshop.settings.kernel
        home = workshop.places.runtime.home
        self._registry = home.socket("registryd")
        self._broker = home.socket("brokerd")
        self._airlock = home.socket("airlockd")
        self._by_id: dict[str, Kernel] = {}
        self._guard = threading.Lock()

    # ── what a person's socket asks ─────────────────────────────────────────

    def start(self, owner: Owner, message: launcher.StartKernel) -> launcher.KernelReply:
        """Decides, records, then starts tap and sandbox; raises ``DeniedError`` when the policy says no."""
        kernel_id = secrets.token_hex(16)
        rights = self._rights(owner, message.project, message.path, kernel_id)
        self._check_room(owner)
        kernel = self._make(kernel_id, owner, rights, message)
        with self._guard:
            self._by_id[kernel_id] = kernel
        try:
            with kernel.guard:
                self._bring_up(kernel, restart=False)
        except BaseException:
            self._forget(kernel)
            raise
        return launcher.KernelReply(kernel=kernel_id, connection=kernel.connection)

    def poll(self, owner: Owner, kernel_id: str) -> launcher.KernelStatus:
        """Whether it runs, and if not, why."""
        kernel = self._of(owner, kernel_id)
        return launcher.KernelStatus(exit_code=kernel.exit_code, reason=kernel.reason)

    def interrupt(self, owner: Owner, kernel_id: str, number: int) -> None:
        """Sends SIGINT to the interpreter inside."""
        sandbox = self._of(owner, kernel_id).sandbox
        if sandbox is not None:
            sandbox.signal_program(number)

    def restart(self, owner: Owner, kernel_id: str) -> launcher.KernelReply:
        """A new sandbox behind the same tap; rights are decided anew and old leases end."""
        kernel = self._of(owner, kernel_id)
        with kernel.guard:
            self._take_down(kernel, "restarted")
            kernel.rights = self._rights(kernel.owner, kernel.rights.project, kernel.plan.path, kernel.id)
            if kernel.tap.poll() is not None:
                kernel.tap = kernel_process.start_tap(self._shop, kernel.plan, kernel.rights)
            self._bring_up(kernel, restart=True)
        return launcher.KernelReply(kernel=kernel.id, connection=kernel.connection)

    def kill(self, owner: Owner, kernel_id: str) -> None:
        """Ends the sandbox at once; the tap stays for a restart."""
        kernel = self._of(owner, kernel_id)
        kernel.end_reason = kernel.end_reason or "stopped"
        sandbox = kernel.sandbox
        if sandbox is not None:
            sandbox.kill()
        with kernel.guard:
            self._take_down(kernel, "stopped")

    def stop(self, owner: Owner, kernel_id: str) -> None:
        """Ends kernel and tap; asking twice is fine. An operator may end anybody's, which is an event of its own."""
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is not None and not _may_end(owner, kernel):
            self._refused_of_other(owner, kernel)
        if kernel is None or not _may_end(owner, kernel):
            return
        if kernel.owner.person != owner.person:
            self._shop.audit.record(
                "kernel.end",
                actor=owner.person,
                role="operator",
                kernel=kernel.id,
                project=kernel.rights.project or None,
            )
        self._remove(kernel, "stopped")

    def _refused_of_other(self, owner: Owner, kernel: Kernel) -> None:
        """To the asker another person's kernel does not exist; the ledger knows better."""
        self._shop.audit.record(
            "kernel.reach", actor=owner.person, outcome="refused", reason="kernel_of_another", kernel=kernel.id
        )

    def stop_all_of(self, owner_id: str, reason: str) -> int:
        """Ends all kernels of one socket; returns how many there were."""
        found = [kernel for kernel in self._all() if kernel.owner.id == owner_id]
        for kernel in found:
            self._remove(kernel, reason)
        return len(found)

    # ── what daemons ask ────────────────────────────────────────────────────

    def end(self, kernel_id: str, reason: str) -> None:
        """Kills the sandbox now and says why in the notebook. Waits for nothing but the kill."""
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is None:
            return
        kernel.end_reason = reason
        self._order(kernel, {"tell": f"\nThis kernel was ended by the enclave: {reason}.\n"})
        sandbox = kernel.sandbox
        if sandbox is not None:
            sandbox.kill()

    def list(self, *, owner: Owner | None = None) -> launcher.KernelListReply:
        """All that run; of ``owner`` only what that person may know."""
        rows = []
        for kernel in self._all():
            sandbox = kernel.sandbox
            if sandbox is None or kernel.exit_code is not None:
                continue
            if owner is not None and not _may_end(owner, kernel):
                continue
            rows.append(
                launcher.KernelInfo(
                    kernel=kernel.id,
                    person=kernel.owner.person,
                    project=kernel.rights.project,
                    host_pid=sandbox.program_pid() or sandbox.inner,
                    host_uid=kernel.user.effective,
                    started=kernel.started,
                )
            )
        return launcher.KernelListReply(kernels=tuple(rows))

    def close(self) -> None:
        """Ends all kernels."""
        for kernel in self._all():
            self._remove(kernel, "launcher_stopped")

    # ── inside ──────────────────────────────────────────────────────────────

    def _all(self) -> tuple[Kernel, ...]:
        with self._guard:
            return tuple(self._by_id.values())

    def _of(self, owner: Owner, kernel_id: str) -> Kernel:
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is not None and kernel.owner.person != owner.person:
            self._refused_of_other(owner, kernel)
        if kernel is None or kernel.owner.person != owner.person:
            raise NotFoundError("kernel: wanted one of this person, got none of that id; it may have ended")
        return kernel

    def _check_room(self, owner: Owner) -> None:
        everyone = self._all()
        own = sum(kernel.owner.person == owner.person for kernel in everyone)
        if len(everyone) >= self._shop.settings.max_kernels or own >= self._shop.settings.max_kernels_per_person:
            raise ConflictError(
                f"kernels: wanted fewer than {self._shop.settings.max_kernels_per_person} per person and "
                f"{self._shop.settings.max_kernels} in all, got that many; shut one down first",
                code="too_many_kernels",
            )

    def _rights(self, owner: Owner, project: str | None, path: str, kernel_id: str) -> Rights:
        try:
            return kernel_rights(
                WireClient(self._registry), owner=owner, project=project, path=path, at=self._shop.clock.now()
            )
        except DeniedError as error:
            self._shop.audit.record(
                "kernel.start", actor=owner.person, outcome="refused", reason=error.code, project=project,
                kernel=kernel_id,
            )  # fmt: skip
            raise

    def _make(self, kernel_id: str, owner: Owner, rights: Rights, message: launcher.StartKernel) -> Kernel:
        door = self._shop.uids.door()
        plan = KernelPlan(
            id=kernel_id,
            owner=owner,
            path=message.path,
            session=message.session,
            folder=make_dir(self._places.run / "kernels" / short(kernel_id), mode=0o711),
            front=make_dir(owner.front / short(kernel_id), mode=0o711, owner=door),
            front_key=secrets.token_hex(32),
            back_key=secrets.token_hex(32),
        )
        tap = kernel_process.start_tap(self._shop, plan, rights)
        connection = kernel_process.connection_info(f"{owner.view}/{short(kernel_id)}/c", key=plan.front_key)
        return Kernel(plan=plan, rights=rights, tap=tap, connection=connection, started=self._now())

    def _bring_up(self, kernel: Kernel, *, restart: bool) -> None:
        kernel.user = self._shop.uids.kernel()
        detail = {
            "host_uid": kernel.user.effective,
            "environment": self._places.runtime.environment_id,
            "limits": self._shop.cgroups.backend,
            "restart": restart,
        }
        self._shop.audit.append(self._event(kernel, "kernel.start", "intent", detail=detail))
        try:
            self._open_listeners(kernel)
            kernel.group = self._shop.cgroups.make(
                short(kernel.id), memory_bytes=self._limits.memory_mb << 20, processes=self._limits.processes
            )
            sandbox = kernel_process.start_sandbox(
                self._shop, kernel.plan, project=kernel.rights.project, user=kernel.user, group=kernel.group
            )
        except EnclaveError as error:
            self._owe_closing(kernel)
            self._shop.debts.owe_event(
                self._event(kernel, "kernel.start", "failed", reason=error.code, detail={"restart": restart})
            )
            raise
        kernel.sandbox, kernel.exit_code, kernel.reason, kernel.end_reason = sandbox, None, "", ""
        kernel.born = time.monotonic()
        self._shop.debts.owe_event(self._event(kernel, "kernel.start", "ok", detail=detail))
        threading.Thread(target=self._watch, args=(kernel, sandbox), name="kernel-watch", daemon=True).start()

    def _watch(self, kernel: Kernel, sandbox: Sandbox) -> None:
        """Waits for the end of one sandbox, or ends it when its time is over or its tap is gone."""
        while sandbox.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                sandbox.process.wait(1.0)
                break
            if time.monotonic() - kernel.born > self._limits.run_s:
                self.end(kernel.id, "run_time_over")
            elif kernel.tap.poll() is not None:
                idle = kernel.tap.poll() == IDLE_EXIT
                kernel.end_reason = kernel.end_reason or ("idle" if idle else "tap_ended")
                sandbox.kill()
        with kernel.guard:
            if kernel.sandbox is sandbox:
                self._take_down(kernel, "")

    def _take_down(self, kernel: Kernel, reason: str) -> None:
        """Kills the sandbox if it still runs and records its end; the tap stays. Holds the kernel's guard."""
        sandbox = kernel.sandbox
        if sandbox is None:
            return
        kernel.sandbox = None
        sandbox.kill()
        memory = kernel.group.killed_for_memory()
        code = kernel.end_reason or ("memory_limit" if memory else reason) or "exited"
        kernel.exit_code = sandbox.poll() if sandbox.poll() is not None else -9
        kernel.reason = kernel_process.words_for(code, memory_mb=self._limits.memory_mb)
        sandbox.close()
        kernel.group.remove()
        self._order(kernel, {"ended": code})
        self._owe_closing(kernel)
        detail = {"exit_code": kernel.exit_code, "run_s": round(time.monotonic() - kernel.born)}
        self._shop.debts.owe_event(self._event(kernel, "kernel.stop", "ok", reason=code, detail=detail))

    def _remove(self, kernel: Kernel, reason: str) -> None:
        with kernel.guard:
            self._take_down(kernel, reason)
            self._forget(kernel)

    def _forget(self, kernel: Kernel) -> None:
        with self._guard:
            self._by_id.pop(kernel.id, None)
        if kernel.sandbox is not None:
            kernel.sandbox.close()
        end_process(kernel.tap)
        for folder in (kernel.plan.folder, kernel.plan.front):
            shutil.rmtree(folder, ignore_errors=True)

    def _open_listeners(self, kernel: Kernel) -> None:
        for name in ("lease.sock", "submit.sock"):
            (kernel.plan.folder / name).unlink(missing_ok=True)
        common: dict[str, Any] = {
            "kernel": kernel.id,
            "person": kernel.owner.person,
            "role": kernel.rights.role,
            "project": kernel.rights.project,
            "directory": str(kernel.plan.folder),
            "uid": kernel.user.effective,
        }
        with kernel.doors:
            kernel.turn += 1
            _ask(self._broker, broker.CloseListener(kernel=kernel.id), broker.OpenListener(**common))
            _ask(self._airlock, airlock.CloseSubmitListener(kernel=kernel.id), airlock.OpenSubmitListener(**common))

    def _owe_closing(self, kernel: Kernel) -> None:
        """Has the sockets of this turn closed in time; a restart that opened new ones by then keeps them."""
        turn = kernel.turn

        def close(service: Path, message: Any) -> None:
            with kernel.doors:
                if kernel.turn == turn:
                    _ask(service, message)

        self._shop.debts.owe(lambda: close(self._broker, broker.CloseListener(kernel=kernel.id)))
        self._shop.debts.owe(lambda: close(self._airlock, airlock.CloseSubmitListener(kernel=kernel.id)))

    def _order(self, kernel: Kernel, order: dict[str, str]) -> None:
        if kernel.tap.stdin is not None:
            try:
                kernel.tap.stdin.write(json.dumps(order).encode() + b"\n")
                kernel.tap.stdin.flush()
            except (OSError, ValueError):
                self._shop.log.warning("tap does not listen", kernel=kernel.id)

    def _event(
        self, kernel: Kernel, kind: str, outcome: str, *, reason: str | None = None, detail: dict[str, Any]
    ) -> Event:
        return self._shop.event(
            kind,
            actor=kernel.owner.person,
            outcome=outcome,
            role=kernel.rights.role,
            reason=reason,
            project=kernel.rights.project or None,
            session=kernel.plan.session or None,
            kernel=kernel.id,
            detail=detail,
        )

    def _now(self) -> str:
        return format_time(self._shop.clock.now())


def _may_end(owner: Owner, kernel: Kernel) -> bool:
    return kernel.owner.person == owner.person or owner.operator


def _ask(socket: Path, *messages: Any) -> None:
    client = WireClient(socket)
    try:
        for message in messages:
            client.call(message)
    finally:
        client.close()
