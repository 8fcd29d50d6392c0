"""What researchers type, against the real broker over real sockets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enclave_kernel
from enclave.sealed.writer import PlainObject
from enclave_kernel.errors import EnclaveError

Stand = Any  # tests/broker/conftest.py: BrokerStand
KERNEL_PYTHON = Path(__file__).parents[2] / ".venv-kernel" / "bin" / "python"


@pytest.fixture
def inside(broker: Stand, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if this process were a kernel."""
    kernel = broker.kernel()
    monkeypatch.setenv("ENCLAVE_RUN_DIR", str(kernel.directory))
    enclave_kernel.dataset._lease._drop()
    yield kernel
    enclave_kernel.dataset._lease._drop()


def test_datasets_are_listed_and_opened(inside: Any) -> None:
    found = enclave_kernel.datasets()
    assert (found.names, found["demo-ct"].version) == (["demo-ct"], 1)
    ds = enclave_kernel.open("demo-ct")
    assert (ds.tables.names, ds.series.names) == (["tables/patients"], ["series/1.2.3"])
    assert len(ds.objects) == 2
    assert enclave_kernel.open("demo-ct@1").version == 1


def test_a_table_is_a_data_frame(inside: Any) -> None:
    frame = enclave_kernel.open("demo-ct").table("patients")
    assert list(frame.columns) == ["patient", "age_band", "note"]
    assert frame["patient"].tolist() == ["p1", "p2"]


def test_a_series_is_a_read_only_array_over_the_sealed_memory(inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    item = ds.series[0]
    assert (item.modality, item.body_part, item.shape, item.dtype) == ("CT", "HEAD", (3, 32, 32), "int16")
    array = ds.array(item)
    expected = np.frombuffer(bytes(range(256)) * 24, np.int16).reshape(3, 32, 32)
    assert np.array_equal(array, expected)
    assert np.array_equal(ds.array("1.2.3"), expected)
    assert not array.flags.writeable
    assert not array.flags.owndata
    with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
        array[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_more_than_a_hundred_series_are_read_together(broker: Stand, inside: Any) -> None:
    header = {"dtype": "uint8", "shape": [2, 2], "modality": "CT"}
    many = [
        PlainObject(name=f"series/{i:03d}", kind="series", header=header, chunks=bytes([i] * 4)) for i in range(250)
    ]
    broker.seal(*many)
    ds = enclave_kernel.open("demo-ct")
    arrays = ds.arrays(ds.series)
    assert [int(array[0, 0]) for array in arrays] == list(range(250))
    assert "250 CT" in repr(ds)
    reads = broker.events(kind="dataset.read", outcome="ok")
    assert [len(event["objects"]) for event in reads] == [100, 100, 50]


def test_an_empty_series_is_an_empty_array(broker: Stand, inside: Any) -> None:
    empty = PlainObject(name="series/0", kind="series", header={"dtype": "int16", "shape": [0, 4]}, chunks=b"")
    broker.seal(empty)
    assert enclave_kernel.open("demo-ct").array("0").shape == (0, 4)


def test_reading_leaves_no_descriptor_but_the_mapping(inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    ds.array("1.2.3")
    before = memories()
    for _ in range(20):
        ds.array("1.2.3")
    assert memories() <= before + 1  # the broker of this test may be closing its own copy


def memories() -> int:
    """How many descriptors of sealed memory this process holds."""
    held = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held += "memfd:enclave" in str(link.readlink())
    return held


def test_a_refusal_says_why_and_what_to_do(broker: Stand, inside: Any) -> None:
    broker.registry.change(expires="2020-01-01T00:00:00Z")
    with pytest.raises(EnclaveError, match=r"Refused: .*must be renewed") as caught:
        enclave_kernel.open("demo-ct")
    assert caught.value.code == "certificate_expired"


def test_the_wrong_word_for_a_kind_is_explained(inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    with pytest.raises(EnclaveError, match=r"use ds\.array"):
        ds.table(ds.series[0])
    with pytest.raises(EnclaveError, match="names lists them"):
        ds.table("visits")
    with pytest.raises(EnclaveError, match="demo-ct@2"):
        enclave_kernel.open("demo-ct@newest")


def test_a_broker_that_was_started_again_is_found_without_a_word(broker: Stand, inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    broker.stop()
    with pytest.raises(EnclaveError, match="did not answer"):
        ds.array("1.2.3")
    broker.start()
    assert ds.array("1.2.3").shape == (3, 32, 32)


def test_a_fork_has_a_connection_of_its_own(inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(ds.array("1.2.3").shape == (3, 32, 32) for _ in range(20)) else 1)
    assert all(ds.array("1.2.3").shape == (3, 32, 32) for _ in range(20))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_it_looks_like_something_in_a_notebook(inside: Any) -> None:
    ds = enclave_kernel.open("demo-ct")
    assert "demo-ct@1, open until" in repr(ds)
    assert "ds.table(NAME)" in repr(ds)
    html = ds._repr_html_()
    assert "<table>" in html
    assert "series/1.2.3" in html
    assert "3 × 32 × 32" in html


@pytest.mark.slow
@pytest.mark.skipif(not KERNEL_PYTHON.exists(), reason="wanted .venv-kernel, found none; make setup")
def test_the_kernels_own_environment_reads_and_draws(broker: Stand) -> None:
    kernel = broker.kernel()
    code = (
        "import enclave_kernel as enclave\n"
        "ds = enclave.open('demo-ct')\n"
        "assert ds.table('patients').shape == (2, 3)\n"
        "figure = ds.show(ds.series[0])\n"
        "figure.savefig('/dev/null', format='png')\n"
        "print(ds.array('1.2.3').sum() != 0)\n"
    )
    source = str(Path(enclave_kernel.__file__).parents[1])
    environment = {"ENCLAVE_RUN_DIR": str(kernel.directory), "PYTHONPATH": source, "MPLBACKEND": "agg", "HOME": "/tmp"}
    argv = [str(KERNEL_PYTHON), "-c", code]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
    assert sys.version_info >= (3, 11)
