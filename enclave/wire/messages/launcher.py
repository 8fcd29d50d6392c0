"""What `enclave-launcherd` answers: daemons on its own socket, a server or client on its person's socket."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Done, Json, request

# ── from the Hub's spawner, reportd, airlockd and the console on launcherd.sock ─


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """Where the proxy reaches the server: the gate's URL (``http+unix://…``)."""

    server: str
    url: str


@request("launcher.server_start", reply=ServerReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class StartServer:
    """Starts gate and sandboxed single-user server of one person.

    ``environment`` is the Hub's; only names on the launcher's list pass. ``base_url`` is ``/user/NAME/``.
    """

    person: str
    base_url: str
    hub_api_url: str
    environment: dict[str, str]


@request("launcher.keep_files", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """From a gate, on a socket of its own: what lies in its person's code folder is sealed when this is answered."""


@request("launcher.show_file", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFile:
    """From a gate: may its person be shown a saved file of this size? ``path`` is below the code folder."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """``exit_code`` None: it runs."""

    exit_code: int | None = None


@request("launcher.server_poll", reply=ServerStatus)
@dataclass(frozen=True, slots=True, kw_only=True)
class PollServer:
    """Does it run?"""

    server: str


@request("launcher.server_stop", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class StopServer:
    """Ends the server, its gate and all of its kernels; asking twice is fine."""

    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSocket:
    """A launcher socket bound to one principal; it ends with the connection that asked for it."""

    socket: str


@request("launcher.open_person_socket", reply=PersonSocket)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPersonSocket:
    """For a command-line client that acts for the person of this Hub token."""

    token: str


@request("launcher.open_service_socket", reply=PersonSocket)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenServiceSocket:
    """From reportd: a socket for the service identity ``service:NAME``."""

    service: str


@request("launcher.kernel_end", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class EndKernel:
    """From brokerd (a lease ended) or an operator: kill now; ``reason`` is a code such as ``certificate_revoked``."""

    kernel: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """One kernel; ``host_uid`` is its uid as the host sees it, ``state`` is running or frozen."""

    kernel: str
    person: str
    project: str
    host_pid: int
    host_uid: int
    started: str
    state: str = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelListReply:
    """All kernels of this launcher."""

    kernels: tuple[KernelInfo, ...]


@request("launcher.kernels", reply=KernelListReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListKernels:
    """From operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReply:
    """What the check program printed (canonical JSON) and its exit code."""

    exit_code: int
    result: Json = field(default=None)


@request("launcher.check_run", reply=CheckReply, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck:
    """From airlockd: runs ``python -m MODULE`` (on the launcher's list) in a check sandbox.

    The files arrive as descriptors beside the frame, in the order of ``names``; the sandbox sees them read-only
    as ``/check/0`` …; ``request`` is handed to the program on stdin.
    """

    module: str
    names: tuple[str, ...]
    request: Json
    timeout_s: float = 60.0


# ── from a single-user server or client, on its own person socket ───────────


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReply:
    """A started kernel: the Jupyter connection info of the tap's front leg (ipc)."""

    kernel: str
    connection: Json


@request("kernel.start", reply=KernelReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class StartKernel:
    """Starts a kernel for this socket's person.

    ``project`` None: the first folder of ``path`` (relative to the code folder), else the only project.
    ``environment`` is a package set as `enclave env list` names it; empty: the project's. ``notebook`` is what the
    client says its notebook is called: it decides nothing and stands beside the records of the kernel's cells.
    """

    path: str = ""
    notebook: str = ""
    project: str | None = None
    session: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStatus:
    """``exit_code`` None: it runs. ``reason`` says why it ended, in words for the person."""

    exit_code: int | None = None
    reason: str = ""


@request("kernel.poll", reply=KernelStatus)
@dataclass(frozen=True, slots=True, kw_only=True)
class PollKernel:
    """Does it run?"""

    kernel: str


@request("kernel.interrupt", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptKernel:
    """SIGINT to the kernel's interpreter."""

    kernel: str


@request("kernel.name_notebook", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class NameNotebook:
    """The notebook of a kernel that runs is called otherwise from now on; ``notebook`` as in ``StartKernel``."""

    kernel: str
    notebook: str


@request("kernel.restart", reply=KernelReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class RestartKernel:
    """A new sandbox behind the same tap and endpoints."""

    kernel: str


@request("kernel.kill", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class KillKernel:
    """Ends the sandbox at once; tap and endpoints stay for a restart."""

    kernel: str


@request("kernel.list", reply=KernelListReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListOwnKernels:
    """This person's kernels; for an operator or a data steward everybody's."""


@request("kernel.freeze", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeKernel:
    """By an operator or a data steward: it runs nothing more and keeps what it has until one of them ends it."""

    kernel: str


@request("kernel.stop", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class StopKernel:
    """Ends it; asking twice is fine. ``ticket`` is what asked an operator for it."""

    kernel: str
    ticket: str | None = None
