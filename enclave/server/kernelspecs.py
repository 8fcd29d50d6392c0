"""The only kernelspec there is: ``enclave-python``, started by `enclave-launcherd` through its provisioner."""

from __future__ import annotations

from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from traitlets import default

KERNEL_NAME = "enclave-python"
JUPYTER_DATA = Path(__file__).parent / "jupyter"  # as an entry of JUPYTER_PATH it serves any jupyter_client process


class EnclaveKernelSpecManager(KernelSpecManager):
    """Looks nowhere but beside this file: a spec that somebody drops elsewhere is not found."""

    @default("kernel_dirs")
    def _only_ours(self) -> list[str]:
        return [str(JUPYTER_DATA / "kernels")]

    @default("ensure_native_kernel")
    def _no_native_kernel(self) -> bool:
        return False

    @default("allowed_kernelspecs")
    def _only_this_name(self) -> set[str]:
        return {KERNEL_NAME}
