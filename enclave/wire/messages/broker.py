"""What `enclave-brokerd` answers: launcher and tap on its own socket, a kernel on its ``lease`` socket."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Done, Json, Verbatim, request

# ── from enclave-launcherd and the taps, on brokerd.sock ────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """The socket that was opened for one kernel; its path is the identity."""

    socket: str


@request("broker.open_listener", reply=Listener)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenListener:
    """Opens ``<directory>/lease.sock`` for one kernel of one person in one project.

    ``uid`` is the kernel's uid on the host: the only one served there.
    """

    kernel: str
    person: str
    role: str
    project: str
    directory: str
    uid: int


@request("broker.close_listener", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseListener:
    """Ends the kernel's leases and its socket; asking twice is fine."""

    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseInForce:
    """An open lease of a kernel and the dataset version, NAME@V, that it is on."""

    lease: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesReply:
    """The leases that a kernel holds now. ``leases`` stops at 64, ``count`` does not; ``change`` grows with each
    change of them, and the end of all is one.
    """

    leases: tuple[LeaseInForce, ...]
    count: int = 0
    change: int = 0


@request("broker.take_page", reply=LeasesReply, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class TakePage:
    """From a tap, with its page beside the frame (``wire.page``): there stands from now on what runs in the kernel.

    The answer says which data the kernel holds now; beside it comes the page on which the broker says how often that
    has changed. Asking again is fine, and how the tap hears of a change.
    """

    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadsReply:
    """What was read during one execution: dataset versions and object names; and the leases after it.

    ``objects`` stops at 200 names, ``object_count`` does not; every name is in the events ``dataset.read``.
    """

    datasets: tuple[str, ...]
    objects: tuple[str, ...]
    object_count: int = 0
    in_force: LeasesReply | None = None


@request("broker.reads", reply=ReadsReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Asks what the kernel read during the execution ``cell``, which is over."""

    kernel: str
    cell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReply:
    """``bad`` holds {object, reason} of each object that is not as it was sealed."""

    objects: int
    bad: tuple[Json, ...]


@request("broker.verify", reply=VerifyReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyVersion:
    """From an operator on the machine: read every byte of a version again. Says no value, only what is damaged."""

    dataset: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReply:
    """``compared`` holds {name, stated, found, ok} of each number that the version can tell."""

    compared: tuple[Json, ...]


@request("broker.replay", reply=ReplayReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDetermination:
    """From an operator on the machine: derive the numbers of a certificate (canonical text) from its version again."""

    dataset: str
    version: int
    text: Verbatim


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeReply:
    """How often a person's folder was kept by now; 0: never."""

    generation: int


@request("broker.open_code", reply=CodeReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCode:
    """From the launcher: a person's notebooks and modules. Beside the answer comes a bundle (``sealed.bundle``)."""

    person: str


@request("broker.keep_code", reply=CodeReply, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class KeepCode:
    """From the launcher: keeps the bundle beside this frame in place of what was kept of the person's folder."""

    person: str


# ── from a kernel, on its lease socket ──────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """One dataset version that the kernel's project may open."""

    name: str
    version: int
    title: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetList:
    """All of them."""

    datasets: tuple[DatasetInfo, ...]


@request("lease.list", reply=DatasetList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListDatasets:
    """What may this kernel open?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object of a version: ``kind`` is ``table``, ``series`` or ``document``; ``header`` describes it in JSON."""

    name: str
    kind: str
    size_bytes: int
    header: Json = field(default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReply:
    """A grant in use: what it opens and until when (RFC 3339).

    ``objects`` is the first page; with ``more``, ask ``lease.objects`` for what follows its last name.
    """

    lease: str
    dataset: str
    version: int
    expires: str
    objects: tuple[ObjectInfo, ...]
    more: bool = False


@request("lease.open", reply=LeaseReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDataset:
    """Opens the newest released version of ``dataset``, or ``version``."""

    dataset: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPage:
    """Some objects in the order of their names."""

    objects: tuple[ObjectInfo, ...]
    more: bool = False


@request("lease.objects", reply=ObjectPage)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListObjects:
    """The objects of an open lease whose names follow ``after``."""

    lease: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsReply:
    """One sealed memory descriptor per name follows beside this frame, in this order."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]


@request("lease.read", reply=ObjectsReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReadObjects:
    """Reads up to 100 objects of an open lease."""

    lease: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReply:
    """How much was kept, until when, and from which dataset versions it may come."""

    size_bytes: int
    expires: str
    lineage: tuple[str, ...]


@request("lease.save", reply=SavedReply, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class SaveIntermediate:
    """Keeps the sealed memory whose descriptor comes beside the frame; ``kind`` is bytes, array or table."""

    name: str
    kind: str
    header: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedReply:
    """What was kept; one sealed memory descriptor comes beside this frame."""

    kind: str
    header: Json
    size_bytes: int


@request("lease.load", reply=LoadedReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class LoadIntermediate:
    """Gets back what was kept under ``name`` in the kernel's project."""

    name: str
