"""The home, the log and the daemon's loop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from run_folders import remove_run_folders

from enclave.core.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from enclave.runtime.home import HOME_FORMAT, Home, PeerSettings, daemon_uids, ensure_private_dir, home_from
from enclave.runtime.log import Log


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "h")
    home.root.mkdir()
    home.format_file.write_text(str(HOME_FORMAT))
    home.settings_file.write_text("")
    return home


def test_no_home_says_what_to_run(tmp_path):
    with pytest.raises(NotFoundError, match="enclave init"):
        Home(tmp_path).check_format()


def test_a_home_of_a_newer_release_is_left_alone(home):
    home.format_file.write_text(str(HOME_FORMAT + 1))
    with pytest.raises(ConflictError, match="newer release"):
        home.settings(PeerSettings, section="peers")


def test_a_broken_format_file_is_a_conflict(home):
    home.format_file.write_text("one")
    with pytest.raises(ConflictError):
        home.check_format()


def test_the_option_comes_before_the_environment_before_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENCLAVE_HOME", raising=False)
    assert home_from(None).root == tmp_path / ".enclave"
    monkeypatch.setenv("ENCLAVE_HOME", "/from/environment")
    assert home_from(None).root == Path("/from/environment")
    assert home_from(Path("/from/option")).root == Path("/from/option")


def test_sockets_have_room_for_their_names_however_deep_the_home_is(tmp_path):
    deep = Home(tmp_path / ("x" * 100) / ("y" * 100))
    assert len(os.fsencode(deep.socket("registryd"))) < 60
    assert deep.run_dir != Home(tmp_path / ("x" * 100) / "z").run_dir


def test_a_private_folder_is_ours_alone_and_no_link(tmp_path):
    made = ensure_private_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(DeniedError):
        ensure_private_dir(tmp_path / "link")


def test_own_uid_and_the_listed_ones_are_daemons(home):
    home.settings_file.write_text("[peers]\nuids = [4711]\n[launcher]\nbase_uid = 300000\n")
    expected = {os.getuid(), 4711} | ({300000} if os.getuid() == 0 else set())
    assert daemon_uids(home) == expected


def test_an_unknown_peer_setting_is_named(home):
    home.settings_file.write_text("[peers]\nuid = [1]\n")
    with pytest.raises(InvalidError, match="uids"):
        daemon_uids(home)


@pytest.mark.row("S16.4")
def test_the_log_holds_the_class_and_place_of_an_error_and_never_its_text(capfd):
    diary = Log("testd")
    try:
        raise ValueError("CANARY in the text")
    except ValueError as error:
        diary.error("it failed", error, kernel="k1")
    line = json.loads(capfd.readouterr().err)
    assert line["error"] == "ValueError"
    assert line["at"].startswith("test_runtime:") or "test_runtime" in line["at"]
    assert (line["process"], line["level"], line["event"], line["kernel"]) == ("testd", "error", "it failed", "k1")
    assert "CANARY" not in json.dumps(line)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_says_ready_and_closes_on_a_signal(tmp_path, number):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        script = textwrap.dedent("""
            from enclave.runtime.daemon import run_until_signal
            from enclave.runtime.log import Log
            run_until_signal(Log("testd"), close=lambda: print("closed", flush=True))
        """)
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        assert systemd.recv(100) == b"READY=1"
        child.send_signal(number)
        out, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert out == b"closed\n"
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["ready", "stopped"]


def test_the_run_folder_of_a_tests_home_goes_with_it(tmp_path: Path) -> None:
    home, other = Home(tmp_path / ("x" * 60) / "home"), Home(tmp_path / ("x" * 60) / "other")
    for one in (home, other):
        one.root.mkdir(parents=True)
        ensure_private_dir(one.run_dir)
    remove_run_folders(home.root)
    assert (home.run_dir.exists(), other.run_dir.exists()) == (False, True)
    remove_run_folders(tmp_path)
    assert not other.run_dir.exists()
