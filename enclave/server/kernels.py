"""The server's kernel manager: what the launcher refuses is shown to the person in its own words."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError

from enclave.core.errors import EnclaveError
from enclave.server.provisioner import EnclaveProvisioner

_STATUS = {"denied": 403, "not_found": 404, "invalid": 400, "conflict": 409, "unavailable": 503}


class EnclaveKernelManager(AsyncMappingKernelManager):
    """Starts and restarts as its base does; an error of ours becomes an answer with its message."""

    async def start_kernel(self, **options: Any) -> str:
        """The new kernel's id."""
        try:
            kernel: str = await super().start_kernel(**options)
        except EnclaveError as error:
            raise _answer(error) from None
        return kernel

    async def name_notebook(self, kernel_id: str, session_name: str) -> None:
        """What the records of a running kernel's cells call its notebook from now on."""
        if kernel_id in self:
            provisioner = self.get_kernel(kernel_id).provisioner
            if isinstance(provisioner, EnclaveProvisioner):
                await provisioner.name_notebook(session_name)

    async def restart_kernel(self, kernel_id: str, now: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's signature
        """A new sandbox behind the same endpoints."""
        try:
            await super().restart_kernel(kernel_id, now=now)
        except EnclaveError as error:
            raise _answer(error) from None


def _answer(error: EnclaveError) -> HTTPError:
    return HTTPError(_STATUS.get(error.family, 500), error.message, reason=error.code)
