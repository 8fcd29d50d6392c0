"""``[launcher]``: what the operator decides about sandboxes."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.runtime.home import DEFAULT_BASE_UID
from enclave.sandbox.tap.policy import DisplayChange, DisplayPolicy


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    """``[launcher]``. ``base_uid`` counts only when root starts the launcher; ``kernel_env`` is a venv.

    ``display_of`` maps a project to what of ``display`` is different there. ``environment`` is the package set of
    kernels (``NAME@VERSION``, or ``NAME`` for its newest; `enclave env list`), ``environment_of`` that of one project.
    ``code_mb`` bounds a person's notebooks and modules, which are in memory while they are used.
    """

    base_uid: int = DEFAULT_BASE_UID
    kernel_env: str = ""
    environment: str = "default"
    environment_of: dict[str, str] = field(default_factory=dict)
    max_kernels: int = 64
    max_kernels_per_person: int = 8
    code_mb: int = 128
    kernel: KernelLimits = field(default_factory=KernelLimits)
    display: DisplayPolicy = field(default_factory=DisplayPolicy)
    display_of: dict[str, DisplayChange] = field(default_factory=dict)
