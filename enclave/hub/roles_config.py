"""What the Hub is told about roles, scopes and services: tables only. Pure."""

from __future__ import annotations

from typing import Any

from enclave.identity.roles import PEOPLE_ROLES, SCOPE_TEXTS, group_of, scope_of

CONSOLE = "console"
CLI = "enclave-cli"
CULLER = "idle-culler"

# A person may see themselves. No token page, no sharing, no servers of others: `self` would hold more than that.
USER_SCOPES = ("read:users:name!user", "read:users!user", "users:activity!user")
SERVER_SCOPES = ("servers!user", "access:servers!user")  # researchers only
SERVER_TOKEN_SCOPES = ("users:activity!user", "access:servers!server")
CULLER_SCOPES = ("list:users", "read:users:activity", "read:servers", "delete:servers")


def custom_scopes() -> dict[str, dict[str, str]]:
    """One custom scope per role that a person can have."""
    return {scope_of(role): {"description": SCOPE_TEXTS[role]} for role in PEOPLE_ROLES}


def client_scopes() -> list[str]:
    """What console and shell may carry for a person: the roles, nothing of the Hub's own powers."""
    return [scope_of(role) for role in PEOPLE_ROLES]


def load_roles() -> list[dict[str, Any]]:
    """The Hub's roles; a group that nobody is in yet is fine."""
    people = [
        {
            "name": f"role-{group_of(role)}",
            "description": SCOPE_TEXTS[role],
            "scopes": [
                scope_of(role),
                f"access:services!service={CONSOLE}",
                f"access:services!service={CLI}",
                *(SERVER_SCOPES if role == "researcher" else ()),
            ],
            "groups": [group_of(role)],
        }
        for role in PEOPLE_ROLES
    ]
    return [
        {"name": "user", "description": "See oneself", "scopes": list(USER_SCOPES)},
        {"name": "server", "description": "Tell of activity", "scopes": list(SERVER_TOKEN_SCOPES)},
        {"name": CULLER, "description": "End idle servers", "scopes": list(CULLER_SCOPES), "services": [CULLER]},
        *people,
    ]
