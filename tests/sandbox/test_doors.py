"""Taps and gates stand in front of hostile code: the services take nothing from them but what is theirs to say."""

from __future__ import annotations

import os
from typing import Any

import pytest
from other_user import answer_to

from enclave.runtime.home import daemon_uids, door_uid, service_uids
from enclave.wire.messages.launcher import ListKernels

pytestmark = pytest.mark.row("S6.1")
ROOT_ONLY = pytest.mark.skipif(
    os.getuid() != 0, reason="taps and gates have a uid of their own under root; run as root"
)


@ROOT_ONLY
def test_who_took_a_tap_or_a_gate_over_can_ask_the_launcher_for_nothing(stand: Any) -> None:
    """It starts servers and kernels in anybody's name for those whom it serves."""
    door = door_uid(stand.home)
    assert door is not None
    assert answer_to(door, stand.home.socket("launcherd"), ListKernels()) == "denied"
    assert answer_to(os.getuid(), stand.home.socket("launcherd"), ListKernels()) == "served"


def test_services_are_told_from_the_taps_and_gates_that_they_start(auditd: Any) -> None:
    home = auditd.home
    door = door_uid(home)
    assert os.getuid() in service_uids(home)
    assert door not in service_uids(home)
    assert daemon_uids(home) - service_uids(home) == ({door} if os.getuid() == 0 else set())
