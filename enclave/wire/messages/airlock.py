"""What `enclave-airlockd` answers: daemons and people on its own socket, a kernel on its ``submit`` socket."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.schema import Done, Json, Text, request

# ── from enclave-launcherd ──────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitListener:
    """The submit socket that was opened for one kernel."""

    socket: str


@request("airlock.open_listener", reply=SubmitListener)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSubmitListener:
    """Opens ``<directory>/submit.sock`` for one kernel of one person in one project."""

    kernel: str
    person: str
    role: str
    project: str
    directory: str
    uid: int


@request("airlock.close_listener", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSubmitListener:
    """Ends it; asking twice is fine."""

    kernel: str


@request("airlock.take_page", reply=Done, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSubmitPage:
    """From a tap, as ``broker.take_page``: the page on which stands what runs in the kernel."""

    kernel: str


# ── from a kernel, on its submit socket; one descriptor (sealed memfd) per file beside the frame ─


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressStatus:
    """Where one request stands, as its author may know it."""

    id: str
    title: str
    state: str
    verdict: str
    files: tuple[str, ...]
    findings: tuple[Json, ...] = ()
    message: str = ""


@request("egress.submit", reply=EgressStatus, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Files to leave the enclave; ``names`` are base names, one descriptor each.

    ``replaces`` names an own request that was returned or blocked: it gets these files, and its votes are reset.
    """

    title: str
    purpose: Text
    description: Text
    names: tuple[str, ...]
    replaces: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressStatusList:
    """The kernel's person's requests in this project."""

    requests: tuple[EgressStatus, ...]


@request("egress.status", reply=EgressStatusList)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskStatus:
    """Where are my requests?"""


# ── from people (console, CLI), each with the person's Hub token ────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressFile:
    """One frozen file."""

    name: str
    sha256: str
    size_bytes: int
    type: str
    verdict: str
    findings: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRequest:
    """One egress request in full. ``held``: why the step that its state promises is refused now ('' = it is not).

    ``until`` (RFC 3339): when the delivery of a released one ends.
    """

    id: str
    project: str
    author: str
    title: str
    purpose: str
    description: str
    state: str
    verdict: str
    submitted: str
    files: tuple[EgressFile, ...]
    votes: tuple[Json, ...] = ()
    history: tuple[Json, ...] = ()
    cell: str = ""
    may: tuple[str, ...] = ()
    held: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRequestList:
    """Several requests."""

    requests: tuple[EgressRequest, ...]


@request("egress.list", reply=EgressRequestList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequests:
    """What this person may see: own ones, and as output checker those of others."""

    token: str
    project: str | None = None


@request("egress.show", reply=EgressRequest)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRequest:
    """One request."""

    token: str
    id: str


@request("egress.vote", reply=EgressRequest)
@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One output checker's independent vote: ``approve``, ``reject`` or ``return``, with a reason."""

    token: str
    id: str
    vote: str
    reason: Text


@request("egress.withdraw", reply=EgressRequest)
@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """By its author."""

    token: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewReply:
    """A rendered, watermarked preview: PNG or plain text in base64; never the file's own bytes."""

    mime: str
    data: str


@request("egress.preview", reply=PreviewReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """For an output checker, of one file."""

    token: str
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReply:
    """The package (zip) as one descriptor beside the frame."""

    name: str
    size_bytes: int
    sha256: str


@request("egress.deliver", reply=DeliveryReply)
@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """By its author, once."""

    token: str
    id: str
