"""``[launcher]``: what the operator decides about sandboxes."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.runtime.home import DEFAULT_BASE_UID


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLimits:
    """``[launcher.kernel]``: bounds of one kernel. Memory and processes hold for the whole kernel where there are
    cgroups; with rlimits only, memory holds per process."""

    memory_mb: int = 4096
    processes: int = 512
    open_files: int = 1024
    work_mb: int = 1024
    tmp_mb: int = 256
    shm_mb: int = 64
    file_mb: int = 2048
    idle_s: float = 4 * 3600.0
    run_s: float = 24 * 3600.0
    cell_output_mb: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    """``[launcher]``. ``base_uid`` counts only when root starts the launcher; ``kernel_env`` is a venv."""

    base_uid: int = DEFAULT_BASE_UID
    kernel_env: str = ""
    max_kernels: int = 64
    max_kernels_per_person: int = 8
    kernel: KernelLimits = field(default_factory=KernelLimits)
