"""Parts that a machine may lack: their tests skip with one line that says what to install.

``from optional import need`` works in every test (``pythonpath`` in pyproject.toml)::

    def test_the_desk_shows_a_request() -> None:
        chromium = need("chromium")

With ``ENCLAVE_REQUIRE_ALL=1`` (set by ``.ci/run``) an absent part is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Part:
    """One optional part: where it is, or None; and what a person types to have it."""

    find: Callable[[], str | None]
    install: str


def _command(*names: str) -> Callable[[], str | None]:
    return lambda: next((path for name in names if (path := shutil.which(name))), None)


def _file(*paths: str) -> Callable[[], str | None]:
    return lambda: next((path for path in paths if Path(path).exists()), None)


def _module(name: str) -> Callable[[], str | None]:
    return lambda: name if importlib.util.find_spec(name) else None


def _folder(name: str, *, holds: str) -> Callable[[], str | None]:
    folder = Path(__file__).parents[2] / name
    return lambda: str(folder) if (folder / holds).exists() else None


def _brain_network() -> str | None:
    from enclave.deid.faces import network

    return str(network.FOLDER) if network.is_installed() else None


_ARCHES = ("x86_64", "aarch64")

PARTS: dict[str, Part] = {
    "bubblewrap": Part(_command("bwrap"), "apt-get install bubblewrap"),
    "chromium": Part(_command("chromium", "chromium-browser"), "apt-get install chromium"),
    "softhsm": Part(
        _file("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
        "apt-get install softhsm2",
    ),
    "go": Part(_command("go"), "apt-get install golang-go"),
    "go-sumdb": Part(
        _file("/usr/share/gocode/src/golang.org/x/mod/sumdb"), "apt-get install golang-go golang-golang-x-mod-dev"
    ),
    "rsyslog": Part(_command("rsyslogd", "/usr/sbin/rsyslogd"), "apt-get install rsyslog"),
    "rsyslog-tls": Part(
        _file(*(f"/usr/lib/{arch}-linux-gnu/rsyslog/lmnsd_{kind}.so" for arch in _ARCHES for kind in ("ossl", "gtls"))),
        "apt-get install rsyslog-openssl",
    ),
    "dask": Part(_module("distributed"), "make .stamps/dask"),
    "pydicom-data": Part(_module("data_store"), "make .stamps/samples"),
    "deid-data": Part(_module("deid_data"), "make .stamps/samples"),
    "deface-mr": Part(_brain_network, "make deface-mr"),
    "heads": Part(_folder(".stamps/head-images", holds="usr/share/mricron"), "make .stamps/heads"),
    "root": Part(lambda: "root" if os.getuid() == 0 else None, "run the tests once more as root"),
}


def need(name: str) -> str:
    """Where the part is; otherwise this test skips, or fails when everything is required."""
    part = PARTS[name]
    found = part.find()
    if found is not None:
        return found
    line = f"wanted {name}, found none; {part.install}"
    if os.environ.get("ENCLAVE_REQUIRE_ALL") == "1" and name != "root":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)
