"""Decoders that crash, hang or take too much hold one file back and harm nothing else."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from enclave.deid import decoders, fork_client, fork_server
from enclave.deid.decoders import decoded_frames
from enclave.deid.fork_client import client_of
from enclave.deid.pixel_form import PixelForm
from enclave.deid.reasons import Quarantined
from enclave.deid.stored_pixels import pixel_array

ROWS, COLUMNS = 64, 96
SERVER = "enclave.deid.decoder_process"


def compressed(path: Path, syntax: UID, *, frames: int = 1, signed: bool = False) -> Path:
    made = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    made.SOPClassUID, made.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.7"), UID("1.2.826.0.1.3680043.10.4711.31")
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID = made.SeriesInstanceUID = "1.2.826.0.1.3680043.10.4711.30"
    values = np.random.default_rng(8).integers(0, 4000, (frames, ROWS, COLUMNS))
    values = (values - 2000 * signed).astype(np.int16 if signed else np.uint16)
    set_pixel_data(made, values if frames > 1 else values[0], "MONOCHROME2", 16)
    made.compress(syntax)
    made.save_as(path, enforce_file_format=True)
    return path


def form_of(**changed: int) -> PixelForm:
    given = {"rows": ROWS, "columns": COLUMNS, "frames": 1, **changed}
    return PixelForm(
        **given, samples=1, bits=16, stored=16, high=15, signed=False, floating=False, photometric="MONOCHROME2",
        by_plane=False, little=True,
    )  # fmt: skip


def value_of(path: Path) -> list[memoryview]:
    return [memoryview(pydicom.dcmread(path).PixelData)]


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=["rle", "ls", "2000"])
def test_what_is_decoded_apart_is_what_pydicom_decodes(syntax: UID, frames: int, signed: bool, tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", syntax, frames=frames, signed=signed)
    here, apart = pydicom.dcmread(path).pixel_array, pixel_array(path)
    assert (apart.dtype, apart.tolist()) == (here.dtype, here.tolist())


@pytest.fixture
def with_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Starts the decoders' process with other code in the place of the decoder."""

    def start(body: str, *, before: str = "") -> None:
        head = (
            "import ctypes, os, signal, socket, sys, threading, time, numpy, "
            "enclave.deid.decoder_process as one, enclave.deid.fork_server as server"
        )
        code = (
            f"{head}\n{before}\ndef decode(request, *, value, answer):\n    {body}\none.decode = decode\none.main()\n"
        )
        script = tmp_path / "stand_in.py"
        script.write_text(code, "utf-8")
        real = fork_client.subprocess.Popen

        def other(command: list[str], **options: object) -> object:
            return real([command[0], str(script), command[-1]], **options)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(fork_client, "_clients", {})
        monkeypatch.setattr(fork_client.subprocess, "Popen", other)

    yield start
    client_of(SERVER).end()


@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os._exit(0)",
        "held = bytearray(4 << 30)",
        "os.write(answer, bytes(one.HEAD.size))",
        "os.write(answer, one.HEAD.pack(b'F', b'u', 2, 70000, 70000, 1))",
        "open('written', 'wb', 0).write(b'x')",
    ],
    ids=["crash", "no answer", "memory", "nonsense", "another form", "a file"],
)
@pytest.mark.row("S13.3")
def test_a_decoder_that_goes_wrong_holds_the_file_back(body: str, with_decoder: object, tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder(body)
    with pytest.raises(Quarantined) as verdict:
        list(decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless)))
    assert verdict.value.reason == "pixels_undecodable"


TRYING = """
C = ctypes.CDLL(None, use_errno=True)
def call(name, *words):
    return C[name](*words)
def tried(act):
    ctypes.set_errno(0)
    try:
        got = act()
    except OSError as error:
        return error.errno
    except RuntimeError:
        return 1000
    return ctypes.get_errno() if got == -1 else 0
def tell(answer, number):
    with os.fdopen(answer, "wb", buffering=0) as pipe:
        one._send(pipe, numpy.full((64, 96), number, numpy.uint16))
        pipe.write(one.HEAD.pack(one.DONE, b" ", 0, 0, 0, 0))
"""
ACTS = {
    "a socket": "socket.socket(socket.AF_INET)",
    "a socket of this machine": "socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "socket.socketpair()",
    "another program": "os.execv('/bin/true', ['true'])",
    "a fork": "os.fork()",
    "a file to write": "os.open('written', os.O_WRONLY | os.O_CREAT)",
    "a file to read": "os.open('/etc/passwd', os.O_RDONLY)",
    "a folder": "os.listdir('/')",
    "a file's size": "os.stat('/etc/passwd')",
    "a name gone": "os.unlink('kept')",
    "a name changed": "os.rename('kept', 'lost')",
    "ptrace": "call('ptrace', 16, os.getppid(), 0, 0)",
    "another's memory": "call('process_vm_readv', os.getppid(), None, 0, None, 0, 0)",
    "a signal": "os.kill(os.getppid(), 0)",
    "memory with a name": "os.memfd_create('x')",
    "a namespace": "call('unshare', 0x10000000)",
    "other limits": "call('prlimit', 0, 4, None, None)",
    "a sleep": "time.sleep(0.01)",
    "another user": "os.setuid(os.getuid())",
    "a mount": "call('mount', None, b'/', None, 0, None)",
    "a descriptor again": "os.dup(answer)",
}


@pytest.mark.row("S13.3")
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_decoder_that_was_taken_over_is_refused(act: str, with_decoder: object, tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    (tmp_path / "kept").touch()
    with_decoder(f"tell(answer, tried(lambda: {act}))", before=TRYING)
    (frame,) = decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless))
    assert set(np.unique(frame)) == {errno.EPERM}
    assert (tmp_path / "kept").exists()
    assert not (tmp_path / "written").exists()


def test_a_decoder_starts_no_thread(with_decoder: object, tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder("tell(answer, tried(lambda: threading.Thread(target=int).start()))", before=TRYING)
    (frame,) = decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless))
    assert set(np.unique(frame)) == {1000}


def forks() -> list[int]:
    """The forks that the decoders' process has now."""
    running = client_of(SERVER)._running
    assert running is not None
    return [int(one) for one in Path(f"/proc/{running[0].pid}/task/{running[0].pid}/children").read_text().split()]


def none_is_left() -> bool:
    end = time.monotonic() + 10
    while forks() and time.monotonic() < end:
        time.sleep(0.01)
    return not forks()


@pytest.mark.row("S13.3")
@pytest.mark.parametrize(
    "said",
    [
        "os.write(answer, bytes(one.HEAD.size))",
        "os.write(answer, one.HEAD.pack(b'F', b'u', 2, 70000, 70000, 1))",
        "tell(answer, 7)",
        "pipe = os.fdopen(answer, 'wb', 0); [one._send(pipe, numpy.zeros((64, 96), numpy.uint16)) for _ in range(9)]",
    ],
    ids=["nonsense", "another form", "all there is", "too many frames"],
)
def test_a_decoder_that_works_on_when_nobody_waits_is_ended_and_the_process_is_not(
    said: str, with_decoder: object, tmp_path: Path
) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder(f"{said}\n    while True: pass", before=TRYING)
    processes = set()
    for _ in range(3):
        with contextlib.suppress(Quarantined):
            list(itertools.islice(decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless)), 2))
        assert none_is_left()
        processes.add(client_of(SERVER)._running[0].pid)
    assert len(processes) == 1


def test_a_decoder_whose_reader_stops_is_ended_and_that_of_another_value_is_not(
    with_decoder: object, tmp_path: Path
) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder(
        "pipe = os.fdopen(answer, 'wb', 0)\n    for number in range(9): one._send(pipe, "
        "numpy.full((64, 96), number, numpy.uint16))\n    while True: pass"
    )
    given_up, other = (
        decoded_frames(value_of(path), form=form_of(frames=9), syntax=str(RLELossless)) for _ in range(2)
    )
    next(given_up)
    first = set(forks())
    assert next(other).max() == 0
    given_up.close()
    end = time.monotonic() + 10
    while first & set(forks()) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(forks()) == 1
    assert [frame.max() for frame in itertools.islice(other, 8)] == list(range(1, 9))
    other.close()
    assert none_is_left()


def test_decoders_that_once_did_not_start_are_started_for_the_next_value(with_decoder: object, tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder("tell(answer, 7)", before=f"{TRYING}\nif not os.path.exists('memory'): sys.exit(1)")
    with pytest.raises(Quarantined) as verdict:
        list(decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless)))
    assert verdict.value.reason == "decoders_unconfined"
    (tmp_path / "memory").touch()
    (frame,) = decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless))
    assert frame.max() == 7


@pytest.mark.row("S13.3")
@pytest.mark.parametrize(
    "before",
    [
        "server.confine = lambda code: None",
        "def no(code):\n    raise OSError(22, 'Invalid argument')\nserver.confine = no",
        "def none():\n    raise UnavailableError('call list')\nserver.filter_code = none",
    ],
    ids=["it does not hold", "the kernel has none", "the architecture has none"],
)
def test_where_decoders_cannot_be_confined_nothing_is_decoded(
    before: str, with_decoder: object, tmp_path: Path
) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with_decoder("open('decoded', 'w')", before=f"from enclave.core.errors import UnavailableError\n{before}")
    for _ in range(2):
        with pytest.raises(Quarantined) as verdict:
            list(decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless)))
        assert verdict.value.reason == "decoders_unconfined"
    assert not (tmp_path / "decoded").exists()
    assert not decoders.are_confined()


def test_decoders_are_confined_here_for_root_and_for_any_user() -> None:
    assert decoders.are_confined()
    fork = os.fork()
    if fork == 0:
        status = 1
        with contextlib.suppress(BaseException):
            if os.getuid() == 0:
                os.setresuid(65534, 65534, 65534)
            status = 0 if fork_server.holds(fork_server.filter_code()) else 1
        os._exit(status)
    assert os.waitpid(fork, 0)[1] == 0


def test_a_decoder_that_hangs_is_ended(with_decoder: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_SILENCE_SECONDS", 1.0)
    with_decoder("while True: pass")
    path = compressed(tmp_path / "one.dcm", RLELossless)
    with pytest.raises(Quarantined):
        list(decoded_frames(value_of(path), form=form_of(), syntax=str(RLELossless)))
    assert client_of(SERVER)._running is None


def test_after_a_crash_of_the_process_the_next_file_is_decoded(tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless)
    first = pixel_array(path)
    running = client_of(SERVER)._running
    assert running is not None
    os.kill(running[0].pid, signal.SIGKILL)
    running[0].wait()
    assert pixel_array(path).tolist() == first.tolist()
    assert running[1].fileno() == -1


def test_two_values_are_decoded_side_by_side(tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless, frames=3)
    form = form_of(frames=3)
    one, other = (decoded_frames(value_of(path), form=form, syntax=str(RLELossless)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_a_reader_that_stops_early_leaves_no_process_waiting(tmp_path: Path) -> None:
    path = compressed(tmp_path / "one.dcm", RLELossless, frames=3)
    frames = decoded_frames(value_of(path), form=form_of(frames=3), syntax=str(RLELossless))
    next(frames)
    frames.close()
    assert pixel_array(path).shape == (3, ROWS, COLUMNS)
