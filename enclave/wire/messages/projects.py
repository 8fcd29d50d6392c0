"""What `enclave-registryd` answers about projects and who belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Text, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project and who belongs to it; ``members`` maps a principal to its role in the project."""

    name: str
    title: str
    purpose: str
    state: str
    members: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectList:
    """Several projects."""

    projects: tuple[Project, ...]


@request("project.create", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProject:
    """By a data steward."""

    token: str
    name: str
    title: str
    purpose: Text
    ticket: str | None = None


@request("project.show", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowProject:
    """By any signed-in person."""

    token: str
    name: str


@request("project.close", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProject:
    """By a data steward; leases of its kernels end."""

    token: str
    name: str
    ticket: str | None = None


@request("project.member_add", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """By a data steward, never for themselves."""

    token: str
    name: str
    person: str
    role: str = "researcher"
    ticket: str | None = None


@request("project.member_remove", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    """By a data steward."""

    token: str
    name: str
    person: str
    ticket: str | None = None
