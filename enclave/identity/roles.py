"""The roles, and what they are called at the identity provider and at the Hub. Pure."""

from __future__ import annotations

ROLES: tuple[str, ...] = (
    "researcher",
    "expert",
    "honest_broker",
    "output_checker",
    "data_steward",
    "auditor",
    "operator",
    "service",
)
SCOPE_PREFIX = "custom:enclave:"
GROUP_PREFIX = "enclave-"
PEOPLE_ROLES: tuple[str, ...] = tuple(role for role in ROLES if role != "service")  # no person signs in as a service

SCOPE_TEXTS: dict[str, str] = {
    "researcher": "Work with released data in a project",
    "expert": "Sign expert determinations",
    "honest_broker": "Release dataset versions to projects",
    "output_checker": "Review what leaves the enclave",
    "data_steward": "Take in data and grant access",
    "auditor": "Read the ledger",
    "operator": "Run the machine",
}


def scope_of(role: str) -> str:
    """The Hub's custom scope of a role: ``custom:enclave:output_checker``."""
    return SCOPE_PREFIX + role


def group_of(role: str) -> str:
    """The identity provider's group of a role: ``enclave-output-checker``."""
    return GROUP_PREFIX + role.replace("_", "-")


def roles_of_groups(groups: object) -> frozenset[str]:
    """The roles that ``groups`` (an untrusted claim) give a person; anything unknown gives nothing."""
    if not isinstance(groups, list | tuple | set | frozenset):
        return frozenset()
    return frozenset(role for role in PEOPLE_ROLES if group_of(role) in groups)
