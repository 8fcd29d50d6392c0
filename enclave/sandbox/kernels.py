"""Kernels: who may start one, where its folders lie, and that nothing of it outlives it."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from enclave.audit.event import Event
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, NotFoundError
from enclave.core.ids import check_ticket
from enclave.core.names import stated_name
from enclave.runtime.log import Log
from enclave.sandbox import kernel_process
from enclave.sandbox.budget_file import tell_budget
from enclave.sandbox.cgroups import Group
from enclave.sandbox.farewell import ended_words, frozen_words
from enclave.sandbox.kernel_process import KernelPlan
from enclave.sandbox.kernel_rights import Rights, kernel_rights
from enclave.sandbox.listeners import Doors, Listeners
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import make_dir, short
from enclave.sandbox.room import Room
from enclave.sandbox.sandboxed import HostUser, Sandbox
from enclave.sandbox.set_store import ChosenSet
from enclave.sandbox.tap.amounts import amount_from_json, answer_to_json
from enclave.sandbox.tap.settings import IDLE_EXIT
from enclave.sandbox.tap_channel import TapChannel
from enclave.sandbox.workshop import Workshop
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher

BUDGET_S = 30.0  # how old what a kernel reads of its budgets may be


@dataclass(slots=True, kw_only=True)
class Kernel:
    """One kernel id; its sandbox may be replaced by a restart, its tap and endpoints stay."""

    plan: KernelPlan
    rights: Rights
    tap: TapChannel
    connection: dict[str, Any]
    started: str
    sandbox: Sandbox | None = None
    user: HostUser = field(default_factory=lambda: HostUser(None))
    group: Group = field(default_factory=Group)
    born: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    end_reason: str = ""
    farewell: str = ""  # what its person reads when it was ended
    frozen: str = ""  # why, when it stands still
    guard: threading.RLock = field(default_factory=threading.RLock)
    doors: Doors = field(default_factory=Doors)

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
        self._listeners = Listeners(
            broker=home.socket("brokerd"), airlock=home.socket("airlockd"), debts=workshop.debts
        )
        self._by_id: dict[str, Kernel] = {}
        self._room = Room(workshop.settings, people=lambda: [one.owner.person for one in self._all()])
        self._guard = threading.Lock()

    # ── what a person's socket asks ─────────────────────────────────────────

    def start(self, owner: Owner, message: launcher.StartKernel) -> launcher.KernelReply:
        """Decides, records, then starts tap and sandbox; raises ``DeniedError`` when the policy says no."""
        kernel_id = secrets.token_hex(16)
        rights = self._rights(owner, message.project, message.path, kernel_id)
        packages = self._packages(owner, rights, message, kernel_id)
        with self._room.place_for(owner.person):
            kernel = self._make(kernel_id, owner, rights, packages, message)
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

    def name_notebook(self, owner: Owner, kernel_id: str, notebook: str) -> None:
        """Cells that begin from now on are recorded with this name, those of a later sandbox too; no right follows."""
        kernel = self._of(owner, kernel_id)
        with kernel.guard:
            kernel.plan = replace(kernel.plan, notebook=stated_name(notebook))
            kernel.tap.order_and_wait({"notebook": kernel.plan.notebook})

    def restart(self, owner: Owner, kernel_id: str) -> launcher.KernelReply:
        """A new sandbox behind the same tap; rights are decided anew and old leases end."""
        kernel = self._of(owner, kernel_id)
        self._check_not_frozen(owner, kernel)
        with kernel.guard:
            self._take_down(kernel, "restarted")
            kernel.rights = self._rights(kernel.owner, kernel.rights.project, kernel.plan.path, kernel.id)
            if kernel.tap.poll() is not None:
                kernel.tap = self._start_tap(kernel.plan, kernel.rights)
            self._bring_up(kernel, restart=True)
        return launcher.KernelReply(kernel=kernel.id, connection=kernel.connection)

    def kill(self, owner: Owner, kernel_id: str) -> None:
        """Ends the sandbox at once; the tap stays for a restart."""
        kernel = self._of(owner, kernel_id)
        self._check_not_frozen(owner, kernel)
        kernel.end_reason = kernel.end_reason or "stopped"
        sandbox = kernel.sandbox
        if sandbox is not None:
            sandbox.kill()
        with kernel.guard:
            self._take_down(kernel, "stopped")

    def stop(self, owner: Owner, kernel_id: str, ticket: str | None = None) -> None:
        """Ends kernel and tap; asking twice is fine. To end another person's, or a frozen one, takes a role and is an
        event of its own, with the ticket that asks for it."""
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is None:
            return
        if kernel.frozen and kernel.owner.person == owner.person:
            self._check_not_frozen(owner, kernel)
        elif not self._may_end(owner, kernel):
            self._refused_of_other(owner, kernel)
            return
        if kernel.owner.person != owner.person or kernel.frozen:
            asked = self._about(kernel) | {"ticket": check_ticket(ticket) if ticket else None}
            self._shop.audit.record("kernel.end", actor=owner.person, **asked)
        self._remove(kernel, "stopped")

    def freeze(self, owner: Owner, kernel_id: str) -> None:
        """Stops everything in it for good: it keeps what it has, and only an operator or a data steward ends it."""
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is None:
            raise NotFoundError("kernel: wanted one that runs, got none of that id; see `enclave kernel list`")
        if not owner.may("kernel.freeze", person=kernel.owner.person, project=kernel.rights.project, at=self._at()):
            about = self._about(kernel)
            self._shop.audit.record("kernel.freeze", actor=owner.person, outcome="refused", reason="role", **about)
            words = "kernel: wanted an operator or a data steward to freeze it, got somebody else"
            raise DeniedError(words, code="role")
        self._freeze(kernel, "by_operator", actor=owner.person)

    def _freeze(self, kernel: Kernel, reason: str, *, actor: str) -> None:
        self._shop.audit.record("kernel.freeze", actor=actor, outcome="intent", reason=reason, **self._about(kernel))
        with kernel.guard:
            sandbox = kernel.sandbox
            if sandbox is None or kernel.frozen:
                raise ConflictError("kernel: wanted one that runs, got one that has ended or is frozen already")
            kernel.frozen = reason
            kernel.tap.order_and_wait({"freeze": frozen_words(reason, at=self._at())})
            stands = sandbox.stop_all()
        if not stands:  # what cannot be stopped is ended
            self.end(kernel.id, reason)
        self._shop.debts.owe_event(
            self._shop.event("kernel.freeze", actor=actor, outcome="ok", reason=reason, **self._about(kernel))
        )

    def _check_not_frozen(self, owner: Owner, kernel: Kernel) -> None:
        """A frozen kernel is left as it is by the person it belongs to, unless their roles end frozen ones."""
        if not kernel.frozen or self._may_end(owner, kernel):
            return
        about = self._about(kernel)
        self._shop.audit.record("kernel.end", actor=owner.person, outcome="refused", reason="kernel_frozen", **about)
        raise DeniedError(
            "kernel: wanted one that is not frozen, got one that keeps its state; a data steward or operator ends it",
            code="kernel_frozen",
        )

    def _may_end(self, owner: Owner, kernel: Kernel) -> bool:
        if not kernel.frozen and kernel.owner.person == owner.person:
            return True
        action = "kernel.end_frozen" if kernel.frozen else "kernel.end_other"
        return owner.may(action, person=kernel.owner.person, project=kernel.rights.project, at=self._at())

    def _about(self, kernel: Kernel) -> dict[str, Any]:
        return {
            "kernel": kernel.id,
            "project": kernel.rights.project or None,
            "detail": {"person": kernel.owner.person},
        }

    def _refused_of_other(self, owner: Owner, kernel: Kernel) -> None:
        """To the asker another person's kernel does not exist; the ledger knows better."""
        self._shop.audit.record(
            "kernel.reach", actor=owner.person, outcome="refused", reason="kernel_of_another", kernel=kernel.id
        )

    def stop_all_of(self, owner_id: str, reason: str) -> int:
        """Ends all kernels of one socket but frozen ones; returns how many there were."""
        found = [kernel for kernel in self._all() if kernel.owner.id == owner_id and not kernel.frozen]
        for kernel in found:
            self._remove(kernel, reason)
        return len(found)

    # ── what daemons ask ────────────────────────────────────────────────────

    def end(self, kernel_id: str, reason: str) -> None:
        """Says why in the notebook, then kills the sandbox; a tap that does not answer holds nothing up for long."""
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is None:
            return
        kernel.end_reason = reason
        kernel.farewell = ended_words(reason, at=self._at())
        kernel.tap.order_and_wait({"tell": f"\n{kernel.farewell}\n"})
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
            if owner is not None and not self._may_see(owner, kernel):
                continue
            rows.append(
                launcher.KernelInfo(
                    kernel=kernel.id,
                    person=kernel.owner.person,
                    project=kernel.rights.project,
                    host_pid=sandbox.program_pid() or sandbox.inner,
                    host_uid=kernel.user.effective,
                    started=kernel.started,
                    state="frozen" if kernel.frozen else "running",
                )
            )
        return launcher.KernelListReply(kernels=tuple(rows))

    def _may_see(self, owner: Owner, kernel: Kernel) -> bool:
        person, project = kernel.owner.person, kernel.rights.project
        return person == owner.person or owner.may("kernel.freeze", person=person, project=project, at=self._at())

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

    def _rights(self, owner: Owner, project: str | None, path: str, kernel_id: str) -> Rights:
        try:
            return kernel_rights(
                WireClient(self._registry), owner=owner, project=project, path=path, clock=self._shop.time
            )
        except DeniedError as error:
            self._shop.audit.record(
                "kernel.start", actor=owner.person, outcome="refused", reason=error.code, project=project,
                kernel=kernel_id,
            )  # fmt: skip
            raise

    def _packages(self, owner: Owner, rights: Rights, message: launcher.StartKernel, kernel_id: str) -> ChosenSet:
        try:
            return self._shop.sets.choose(rights.project, wanted=message.environment)
        except EnclaveError as error:
            outcome = "refused" if isinstance(error, DeniedError) else "failed"
            project = rights.project or None
            self._shop.audit.record(
                "kernel.start", actor=owner.person, outcome=outcome, reason=error.code, project=project,
                kernel=kernel_id,
            )  # fmt: skip
            raise

    def _make(
        self, kernel_id: str, owner: Owner, rights: Rights, packages: ChosenSet, message: launcher.StartKernel
    ) -> Kernel:
        door = self._shop.uids.door()
        plan = KernelPlan(
            id=kernel_id,
            owner=owner,
            path=message.path,
            notebook=stated_name(message.notebook or kernel_process.notebook_of(message.path)),
            session=stated_name(message.session),
            folder=make_dir(self._places.run / "kernels" / short(kernel_id), mode=0o711),
            front=make_dir(owner.front / short(kernel_id), mode=0o711, owner=door),
            front_key=secrets.token_hex(32),
            back_key=secrets.token_hex(32),
            packages=packages,
        )
        tap = self._start_tap(plan, rights)
        connection = kernel_process.connection_info(f"{owner.view}/{short(kernel_id)}/c", key=plan.front_key)
        return Kernel(plan=plan, rights=rights, tap=tap, connection=connection, started=self._now())

    def _bring_up(self, kernel: Kernel, *, restart: bool) -> None:
        kernel.user = self._shop.uids.kernel()
        detail = {
            "host_uid": kernel.user.effective,
            "environment": kernel.plan.packages.id,
            "limits": self._shop.cgroups.backend,
            "restart": restart,
        }
        self._shop.audit.append(self._event(kernel, "kernel.start", "intent", detail=detail))
        try:
            self._listeners.open(kernel.plan, kernel.rights, uid=kernel.user.effective, doors=kernel.doors)
            kernel.group = self._shop.cgroups.make(
                short(kernel.id), memory_bytes=self._limits.memory_mb << 20, processes=self._limits.processes
            )
            person = kernel.owner.person
            code = self._shop.code.hold(person, kernel.id, owner=self._shop.uids.person(person))
            sandbox = kernel_process.start_sandbox(
                self._shop, kernel.plan, project=kernel.rights.project, user=kernel.user, group=kernel.group, code=code
            )
        except EnclaveError as error:
            kernel.group.remove()
            self._listeners.owe_closing(kernel.id, kernel.doors)
            self._shop.debts.owe_event(
                self._event(kernel, "kernel.start", "failed", reason=error.code, detail={"restart": restart})
            )
            raise
        kernel.sandbox, kernel.exit_code, kernel.reason, kernel.end_reason = sandbox, None, "", ""
        kernel.frozen, kernel.farewell = "", ""
        self._order(kernel, {"started": restart})
        kernel.born = time.monotonic()
        self._shop.debts.owe_event(self._event(kernel, "kernel.start", "ok", detail=detail))
        threading.Thread(target=self._watch, args=(kernel, sandbox), name="kernel-watch", daemon=True).start()

    def _watch(self, kernel: Kernel, sandbox: Sandbox) -> None:
        """Waits for the end of one sandbox, or ends it when its time is over or its tap is gone."""
        person, project, told = kernel.owner.person, kernel.rights.project, -BUDGET_S
        while sandbox.poll() is None:
            if time.monotonic() - told >= BUDGET_S:  # budgets come back with time, and other kernels use them
                told = time.monotonic()
                tell_budget(kernel.plan.folder, self._shop.display, person=person, project=project)
            with contextlib.suppress(subprocess.TimeoutExpired):
                sandbox.process.wait(1.0)
                break
            if time.monotonic() - kernel.born > self._limits.run_s and not kernel.frozen:
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
        words = "" if code == "restarted" else kernel.farewell or f"This kernel has ended: {kernel.reason}."
        self._order(kernel, {"ended": code, "words": words})
        self._listeners.owe_closing(kernel.id, kernel.doors)
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
        kernel.tap.close()
        for folder in (kernel.plan.folder, kernel.plan.front):
            shutil.rmtree(folder, ignore_errors=True)
        self._shop.code.release(kernel.owner.person, kernel.id)

    def _order(self, kernel: Kernel, order: dict[str, Any]) -> None:
        if not kernel.tap.order(order):
            self._shop.log.warning("tap does not listen", kernel=kernel.id)

    def _start_tap(self, plan: KernelPlan, rights: Rights) -> TapChannel:
        """A tap whose display budgets are those of this person in this project."""
        budgets, person, project = self._shop.display, plan.owner.person, rights.project

        def tell() -> None:
            tell_budget(plan.folder, budgets, person=person, project=project)

        def on_request(tap: TapChannel, line: dict[str, Any]) -> None:
            match line:
                case {"draw": need, "spare": spare}:
                    answer = budgets.draw(person, project, need=amount_from_json(need), spare=amount_from_json(spare))
                    tap.order({"shown": answer_to_json(answer)})
                    tell()
                case {"back": rest}:
                    budgets.give_back(person, project, amount_from_json(rest))
                    tell()
                case {"refused": _}:
                    if budgets.refused(person, project):
                        self._freeze_for_display(plan.id)

        return kernel_process.start_tap(self._shop, plan, rights, on_request=on_request)

    def _freeze_for_display(self, kernel_id: str) -> None:
        with self._guard:
            kernel = self._by_id.get(kernel_id)
        if kernel is not None:  # in a thread of its own: the freeze waits for the tap, whose lines are read in this one
            freeze = functools.partial(self._freeze, kernel, "display_budget", actor=kernel.owner.person)
            threading.Thread(target=_quietly, args=(freeze, self._shop.log), name="freeze", daemon=True).start()

    def _at(self) -> datetime:
        return self._shop.clock.now()

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


def _quietly(act: Callable[[], None], log: Log) -> None:
    """Does what nobody waits for; a kernel that cannot be frozen now is tried again at its next refused cell."""
    try:
        act()
    except EnclaveError as error:
        log.warning("kernel not frozen", code=error.code)
