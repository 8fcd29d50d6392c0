"""One kernel as the broker knows it: who it works for, its leases, the cell that runs, what was read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from enclave.core.errors import DeniedError
from enclave.core.ids import VersionName
from enclave.sealed.reader import OpenVersion
from enclave.wire.messages.broker import LeaseInForce, LeasesReply
from enclave.wire.messages.facts import LeaseFacts
from enclave.wire.page import ChangePage, ExecutionView, execution_unknown

BACKGROUND = "background"
MAX_NAMED_OBJECTS = 200
MAX_NAMED_LEASES = 64
_REMEMBERED_CELLS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelIdentity:
    """What the launcher said when it opened the socket; the kernel can change none of it."""

    kernel: str
    person: str
    role: str
    project: str
    directory: str
    uid: int


@dataclass(slots=True, eq=False)
class Lease:
    """A grant in use. ``facts`` None: nobody has asked since the broker was started again."""

    id: str
    name: VersionName
    facts: LeaseFacts | None = None
    checked: float = 0.0  # monotonic clock
    version: OpenVersion | None = None


@dataclass(slots=True)
class CellReads:
    """What one cell execution read."""

    datasets: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)


class Session:
    """Leases and reads of one kernel. Thread-safe."""

    def __init__(self, identity: KernelIdentity) -> None:
        self.identity = identity
        self._guard = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._opened: set[VersionName] = set()
        self._reads: OrderedDict[str, CellReads] = OrderedDict()
        self._page: ExecutionView | None = None
        self._told = ChangePage(identity.kernel)
        self._ended = False
        self._change = 0

    @property
    def cell(self) -> str:
        """The running cell execution as the tap's page says it now, or ``background``.

        Raises ``UnavailableError`` when there is no page, as after a start of the broker, or nothing whole on it.
        """
        page = self._page
        if page is None:
            raise execution_unknown()
        return page.running() or BACKGROUND

    @property
    def ended(self) -> bool:
        """Whether nothing may be handed out any more."""
        return self._ended

    def take_page(self, page: ExecutionView) -> None:
        """From now on ``page`` says which execution runs."""
        self._page = page

    def change_page(self) -> int:
        """A descriptor of the page that says how often the leases have changed; the caller closes it."""
        return self._told.descriptor()

    def add(self, lease: Lease) -> None:
        """Raises ``DeniedError`` when the session ended meanwhile."""
        with self._guard:
            if self._ended:
                raise lease_ended()
            fresh = lease.id not in self._leases
            self._leases[lease.id] = lease
            self._opened.add(lease.name)
            if fresh:
                self._count_change()

    def lineage(self) -> list[VersionName]:
        """Every version that this kernel ever opened: what it computes may come from any of them."""
        with self._guard:
            return sorted(self._opened, key=str)

    def lease_of(self, name: VersionName) -> Lease | None:
        """The open lease on a version: opening it again gives the same one, so a kernel cannot pile them up."""
        with self._guard:
            return next((lease for lease in self._leases.values() if lease.name == name), None)

    def lease(self, lease_id: str) -> Lease | None:
        """One open lease of this kernel."""
        with self._guard:
            return self._leases.get(lease_id)

    def leases(self) -> list[Lease]:
        """All open leases of this kernel."""
        with self._guard:
            return list(self._leases.values())

    def in_force(self) -> LeasesReply:
        """The open leases as the tap is told of them."""
        with self._guard:
            found = sorted((str(lease.name), lease.id) for lease in self._leases.values())
            named = tuple(LeaseInForce(lease=lease, version=name) for name, lease in found[:MAX_NAMED_LEASES])
            return LeasesReply(leases=named, count=len(found), change=self._change)

    def end(self) -> list[Lease]:
        """Ends all leases and returns them; a second time there are none."""
        with self._guard:
            self._ended = True
            ended = list(self._leases.values())
            self._leases.clear()
            self._count_change()
            return ended

    def _count_change(self) -> None:
        """Told before whoever opened or ended it hears so. Holds the guard."""
        self._change += 1
        self._told.tell(self._change)

    def note(self, cell: str, *, name: VersionName, objects: Iterable[str]) -> None:
        """Remembers what a cell read."""
        with self._guard:
            reads = self._reads.setdefault(cell, CellReads())
            self._reads.move_to_end(cell)
            reads.datasets.add(str(name))
            reads.objects.update(f"{name}/{item}" for item in objects)
            while len(self._reads) > _REMEMBERED_CELLS:
                self._reads.popitem(last=False)

    def reads(self, cell: str) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Dataset versions, the first object names and the number of objects that ``cell`` read."""
        with self._guard:
            found = self._reads.get(cell, CellReads())
            names = sorted(found.objects)
            return tuple(sorted(found.datasets)), tuple(names[:MAX_NAMED_OBJECTS]), len(names)


def lease_ended() -> DeniedError:
    """What a kernel hears whose session is over."""
    return DeniedError(
        "lease: wanted one that is open, got one that has ended; start the kernel again", code="lease_ended"
    )
