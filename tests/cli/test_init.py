"""A home is made whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from enclave.cli import init as init_module
from enclave.cli.init import make_home
from enclave.core.errors import ConflictError
from enclave.runtime.home import HOME_FORMAT, Home


def test_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    for path in [home.root, *home.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix == ".pub", path


def test_a_second_home_in_the_same_place_is_refused_and_the_first_is_untouched(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    with pytest.raises(ConflictError, match="wanted an empty place"):
        make_home(tmp_path / "home", port=8000)
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_nothing_is_left_when_making_it_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(init_module, "new_x25519", fail)
    with pytest.raises(OSError, match="disk full"):
        make_home(tmp_path / "home", port=8000)
    assert list(tmp_path.iterdir()) == []


def test_a_home_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    home.format_file.write_text(str(HOME_FORMAT + 1))
    with pytest.raises(ConflictError, match="made by a newer release"):
        Home(home.root).check_format()
