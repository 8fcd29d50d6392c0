"""How many kernels there may be, also when many begin at once."""

from __future__ import annotations

import contextlib

import pytest

from enclave.core.errors import ConflictError
from enclave.sandbox.room import Room
from enclave.sandbox.settings import LauncherSettings


def test_kernels_that_begin_at_the_same_time_count() -> None:
    there: list[str] = []
    room = Room(LauncherSettings(max_kernels=3, max_kernels_per_person=2), people=lambda: there)
    with contextlib.ExitStack() as begun:
        begun.enter_context(room.place_for("rosa"))
        begun.enter_context(room.place_for("rosa"))
        with pytest.raises(ConflictError) as fault, room.place_for("rosa"):
            pass
        assert fault.value.code == "too_many_kernels"
        begun.enter_context(room.place_for("rita"))
        with pytest.raises(ConflictError), room.place_for("olga"):
            pass
    there += ["rosa"]
    with room.place_for("rosa"), pytest.raises(ConflictError), room.place_for("rosa"):
        pass
    with pytest.raises(RuntimeError), room.place_for("rosa"):
        raise RuntimeError  # a place is given back when its kernel did not come about
    with room.place_for("rosa"):
        pass
