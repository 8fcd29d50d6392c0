"""The provisioner ``enclave``: asks the launcher for a kernel and hands its endpoints to jupyter_client.

Runs on the untrusted side. The kernelspec's argv and the environment are not passed on: the launcher decides both.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath
from typing import Any

from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.core.names import printable, stated_name
from enclave.wire.client import call_once
from enclave.wire.messages.launcher import (
    InterruptKernel,
    KernelReply,
    KillKernel,
    NameNotebook,
    PollKernel,
    RestartKernel,
    StartKernel,
    StopKernel,
)

START_S = 40.0
_POLL_S = 0.1


class EnclaveProvisioner(KernelProvisionerBase):
    """One kernel of the launcher behind ``ENCLAVE_LAUNCHER_SOCKET``."""

    kernel: str | None = None
    ended: bool = False

    @property
    def has_process(self) -> bool:
        """Whether a kernel of the launcher is in our hands."""
        return self.kernel is not None and not self.ended

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Leaves all that belongs to a local process out; ``cmd`` is for jupyter_client's signature only."""
        kwargs = await super().pre_launch(**kwargs)
        return {"cmd": [], "cwd": kwargs.get("cwd"), "env": kwargs["env"]}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Starts a kernel, or a new one behind the same endpoints when we had one (a restart)."""
        del cmd
        if self.kernel is not None:
            try:
                reply = await self._ask(RestartKernel(kernel=self.kernel), timeout_s=START_S)
            except NotFoundError:
                reply = await self._start(kwargs)
        else:
            reply = await self._start(kwargs)
        self.kernel, self.ended = reply.kernel, False
        self.connection_info = {**reply.connection, "key": reply.connection["key"].encode()}
        return self.connection_info

    async def poll(self) -> int | None:
        """None while the kernel runs."""
        if self.kernel is None:
            return 0
        try:
            status = await self._ask(PollKernel(kernel=self.kernel))
        except NotFoundError:
            return 0
        except UnavailableError:
            return None  # an unknown state is no reason to forget a kernel that may run
        code: int | None = status.exit_code
        return code

    async def wait(self) -> int | None:
        """Waits for its end."""
        while True:
            code = await self.poll()
            if code is not None:
                self.ended = True
                return code
            await asyncio.sleep(_POLL_S)

    async def send_signal(self, signum: int) -> None:
        """SIGINT interrupts, anything that ends a process ends the kernel; 0 asks nothing."""
        if self.kernel is None or signum == 0:
            return
        if signum == 2:  # SIGINT
            await self._ask_quietly(InterruptKernel(kernel=self.kernel))
        else:
            await self.kill()

    async def kill(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's signature
        """Ends the sandbox; its tap stays until ``cleanup``, for jupyter_client also kills before a restart."""
        del restart
        if self.has_process:
            await self._ask_quietly(KillKernel(kernel=str(self.kernel)))

    async def terminate(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's signature
        """As ``kill``: a sandbox needs no grace."""
        await self.kill(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's signature
        """Gives the kernel back unless a restart follows."""
        if self.kernel is not None and not restart:
            await self._ask_quietly(StopKernel(kernel=self.kernel))
            self.kernel = None

    async def name_notebook(self, session_name: str) -> None:
        """Tells the launcher what the notebook is called now, as ``JPY_SESSION_NAME`` would say it."""
        if self.has_process:
            await self._ask_quietly(NameNotebook(kernel=str(self.kernel), notebook=notebook_name(session_name)))

    async def get_provisioner_info(self) -> dict[str, Any]:
        """What ``load_provisioner_info`` needs to find the kernel again."""
        return {**await super().get_provisioner_info(), "kernel": self.kernel}

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """The reverse."""
        await super().load_provisioner_info(provisioner_info)
        self.kernel = provisioner_info.get("kernel")

    async def _start(self, kwargs: dict[str, Any]) -> KernelReply:
        env = kwargs.get("env") or {}
        stated = env.get("JPY_SESSION_NAME", "")
        message = StartKernel(
            path=notebook_path(stated, kwargs.get("cwd") or ""),
            notebook=notebook_name(stated),
            project=env.get("ENCLAVE_PROJECT") or None,
            session=self.kernel_id or "",
            environment=env.get("ENCLAVE_ENVIRONMENT", ""),
        )
        reply: KernelReply = await self._ask(message, timeout_s=START_S)
        return reply

    async def _ask(self, message: Any, *, timeout_s: float = 10.0) -> Any:
        return await asyncio.to_thread(_call, message, timeout_s)

    async def _ask_quietly(self, message: Any) -> None:
        try:
            await self._ask(message)
        except EnclaveError as error:
            self.log.warning("Launcher did not do this: %s", error.code)


def notebook_name(session_name: str) -> str:
    """What the records of its cells may call the notebook: its path below the code folder, else its file's name."""
    return stated_name(notebook_path(session_name, "") or PurePosixPath(session_name).name)


def notebook_path(session_name: str, cwd: str) -> str:
    """The notebook's path below the code folder, as far as the client says it; a folder of a name that is no text is
    not found by it."""
    code = PurePosixPath(Path("~/code").expanduser())
    for text in (session_name, cwd):
        path = PurePosixPath(text)
        if text and path.is_absolute() and path.is_relative_to(code) and ".." not in path.parts:
            return printable(str(path.relative_to(code))).removeprefix(".")
    return ""


def _call(message: Any, timeout_s: float) -> Any:
    socket = os.environ.get("ENCLAVE_LAUNCHER_SOCKET")
    if not socket:
        raise UnavailableError(
            "kernel: wanted ENCLAVE_LAUNCHER_SOCKET, got none; start the client with `enclave kernel run`"
        )
    return call_once(Path(socket), message, timeout_s=timeout_s)
