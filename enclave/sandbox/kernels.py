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

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.core.clock import Clock, format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, NotFoundError
from enclave.runtime.log import Log
from enclave.sandbox import kernel_process
from enclave.sandbox.cgroups import Cgroups, Group
from enclave.sandbox.debts import Debts
from enclave.sandbox.kernel_rights import Rights, kernel_rights
from enclave.sandbox.places import Places, make_dir, short
from enclave.sandbox.sandboxed import Births, HostUser, Sandbox, end_process
from enclave.sandbox.settings import LauncherSettings
from enclave.sandbox.uids import Uids
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, broker, launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whoever a socket is bound to. ``front`` holds the tap's front sockets; the client sees it as ``view``."""

    id: str
    person: str
    front: Path
    view: str


@dataclass(slots=True, kw_only=True)
class Kernel:
    """One kernel id; its sandbox may be replaced by a restart, its tap and endpoints stay."""

    id: str
    owner: Owner
    rights: Rights
    path: str
    session: str
    folder: Path
    front: Path
    tap: subprocess.Popen[bytes]
    connection: dict[str, Any]
    back: dict[str, Any]
    started: str
    sandbox: Sandbox | None = None
    user: HostUser = field(default_factory=lambda: HostUser(None))
    group: Group = field(default_factory=Group)
    born: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    end_reason: str = ""
    guard: threading.RLock = field(default_factory=threading.RLock)


class Kernels:
    """All kernels of this launcher."""

    def __init__(
        self, places: Places, settings: LauncherSettings, *, uids: Uids, births: Births, cgroups: Cgroups,
        audit: AuditClient, debts: Debts, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self._places = places
        self._settings = settings
        self._uids = uids
        self._births = births
        self._cgroups = cgroups
        self._audit = audit
        self._debts = debts
        self._clock = clock
        self._log = log
        home = places.runtime.home
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
            kernel.rights = self._rights(kernel.owner, kernel.rights.project, kernel.path, kernel.id)
            self._bring_up(kernel, restart=True)
        return launcher.KernelReply(kernel=kernel.id, connection=kernel.connection)

    def stop(self, owner: Owner, kernel_id: str) -> None:
        """Ends kernel and tap; asking twice is fine."""
        with contextlib.suppress(NotFoundError):
            self._remove(self._of(owner, kernel_id), "stopped")

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

    def list(self) -> launcher.KernelListReply:
        """All that run."""
        rows = []
        for kernel in self._all():
            sandbox = kernel.sandbox
            if sandbox is None or kernel.exit_code is not None:
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
        if kernel is None or kernel.owner.person != owner.person:
            raise NotFoundError("kernel: wanted one of this person, got none of that id; it may have ended")
        return kernel

    def _check_room(self, owner: Owner) -> None:
        everyone = self._all()
        own = sum(kernel.owner.person == owner.person for kernel in everyone)
        if len(everyone) >= self._settings.max_kernels or own >= self._settings.max_kernels_per_person:
            raise ConflictError(
                f"kernels: wanted fewer than {self._settings.max_kernels_per_person} per person and "
                f"{self._settings.max_kernels} in all, got that many; shut one down first",
                code="too_many_kernels",
            )

    def _rights(self, owner: Owner, project: str | None, path: str, kernel_id: str) -> Rights:
        try:
            return kernel_rights(
                WireClient(self._registry), person=owner.person, project=project, path=path, at=self._clock.now()
            )
        except DeniedError as error:
            self._audit.record(
                "kernel.start", actor=owner.person, outcome="refused", reason=error.code, project=project,
                kernel=kernel_id,
            )  # fmt: skip
            raise

    def _make(self, kernel_id: str, owner: Owner, rights: Rights, message: launcher.StartKernel) -> Kernel:
        door = self._uids.door()
        folder = make_dir(self._places.run / "kernels" / short(kernel_id), mode=0o711)
        front = make_dir(owner.front / short(kernel_id), mode=0o711, owner=door)
        keys = secrets.token_hex(32), secrets.token_hex(32)
        connection = kernel_process.connection_info(f"{owner.view}/{short(kernel_id)}/c", key=keys[0])
        back = kernel_process.connection_info("/run/enclave/zmq/k", key=keys[1])
        tap = kernel_process.start_tap(
            self._places, self._births, door, kernel=kernel_id, owner=owner, rights=rights,
            session=message.session, folder=folder, front=front, keys=keys,
            output_bytes=self._settings.kernel.cell_output_mb << 20,
        )  # fmt: skip
        return Kernel(
            id=kernel_id, owner=owner, rights=rights, path=message.path, session=message.session, folder=folder,
            front=front, tap=tap, connection=connection, back=back, started=format_time(self._clock.now()),
        )  # fmt: skip

    def _bring_up(self, kernel: Kernel, *, restart: bool) -> None:
        kernel.user = self._uids.kernel()
        detail = {
            "host_uid": kernel.user.effective,
            "environment": self._settings.kernel_env or "default",
            "limits": self._cgroups.backend,
            "restart": restart,
        }
        self._audit.append(self._event(kernel, "kernel.start", "intent", detail=detail))
        try:
            self._open_listeners(kernel)
            kernel.group = self._cgroups.make(
                short(kernel.id),
                memory_bytes=self._settings.kernel.memory_mb << 20,
                processes=self._settings.kernel.processes,
            )
            sandbox = kernel_process.start_sandbox(
                self._places, self._births, self._settings.kernel, kernel=kernel.id, user=kernel.user,
                person=kernel.owner.person, person_user=self._uids.person(kernel.owner.person), path=kernel.path,
                project=kernel.rights.project, folder=kernel.folder, back=kernel.back, group=kernel.group,
                backend=self._cgroups.backend,
            )  # fmt: skip
        except EnclaveError as error:
            self._debts.owe_event(
                self._event(kernel, "kernel.start", "failed", reason=error.code, detail={"restart": restart})
            )
            raise
        kernel.sandbox, kernel.exit_code, kernel.reason, kernel.end_reason = sandbox, None, "", ""
        kernel.born = time.monotonic()
        self._debts.owe_event(self._event(kernel, "kernel.start", "ok", detail=detail))
        threading.Thread(target=self._watch, args=(kernel, sandbox), name="kernel-watch", daemon=True).start()

    def _watch(self, kernel: Kernel, sandbox: Sandbox) -> None:
        """Waits for the end of one sandbox, or ends it when its time is over or its tap is gone."""
        while sandbox.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                sandbox.process.wait(1.0)
                break
            if time.monotonic() - kernel.born > self._settings.kernel.run_s:
                self.end(kernel.id, "run_time_over")
            elif kernel.tap.poll() is not None:
                kernel.end_reason = kernel.end_reason or "tap_ended"
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
        kernel.reason = kernel_process.words_for(code, memory_mb=self._settings.kernel.memory_mb)
        sandbox.close()
        kernel.group.remove()
        self._order(kernel, {"ended": code})
        self._debts.owe(lambda: WireClient(self._broker).call(broker.CloseListener(kernel=kernel.id)))
        self._debts.owe(lambda: WireClient(self._airlock).call(airlock.CloseSubmitListener(kernel=kernel.id)))
        detail = {"exit_code": kernel.exit_code, "run_s": round(time.monotonic() - kernel.born)}
        self._debts.owe_event(self._event(kernel, "kernel.stop", "ok", reason=code, detail=detail))

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
        for folder in (kernel.folder, kernel.front):
            shutil.rmtree(folder, ignore_errors=True)

    def _open_listeners(self, kernel: Kernel) -> None:
        for name in ("lease.sock", "submit.sock"):
            (kernel.folder / name).unlink(missing_ok=True)
        common = {
            "kernel": kernel.id,
            "person": kernel.owner.person,
            "role": kernel.rights.role,
            "project": kernel.rights.project,
            "directory": str(kernel.folder),
            "uid": kernel.user.effective,
        }
        for client, close, opened in (
            (WireClient(self._broker), broker.CloseListener(kernel=kernel.id), broker.OpenListener(**common)),
            (WireClient(self._airlock), airlock.CloseSubmitListener(kernel=kernel.id),
             airlock.OpenSubmitListener(**common)),
        ):  # fmt: skip
            try:
                client.call(close)
                client.call(opened)
            finally:
                client.close()

    def _order(self, kernel: Kernel, order: dict[str, str]) -> None:
        if kernel.tap.stdin is not None:
            try:
                kernel.tap.stdin.write(json.dumps(order).encode() + b"\n")
                kernel.tap.stdin.flush()
            except (OSError, ValueError):
                self._log.warning("tap does not listen", kernel=kernel.id)

    def _event(
        self, kernel: Kernel, kind: str, outcome: str, *, reason: str | None = None, detail: dict[str, Any]
    ) -> Event:
        return Event(
            id=secrets.token_hex(16), time=format_time(self._clock.now()), kind=kind, actor=kernel.owner.person,
            role=kernel.rights.role, outcome=outcome, reason=reason, project=kernel.rights.project,
            session=kernel.session or None, kernel=kernel.id, detail=detail,
        )  # fmt: skip
