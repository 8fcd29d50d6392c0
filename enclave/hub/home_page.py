"""Where a person lands after signing in: a researcher at the own server, everybody else at the desks."""

from __future__ import annotations

from typing import Any

from enclave.hub.roles_config import CONSOLE
from enclave.identity.roles import roles_of_groups


def first_page(handler: Any) -> str:
    """The path to go to; the Hub calls this with its request handler."""
    user = handler.current_user
    prefix = handler.hub.base_url.removesuffix("hub/")
    if user is None:
        return f"{prefix}hub/login"
    if "researcher" in roles_of_groups([group.name for group in user.groups]):
        return f"{prefix}hub/home"
    return f"{prefix}services/{CONSOLE}/"
