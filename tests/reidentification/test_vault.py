"""The re-identification vault: takes the key back, keeps it encrypted, merges, counts, gives nothing out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.core.errors import ConflictError, DeniedError, IntegrityError, InvalidError, UnavailableError
from enclave.keys.box import open_box
from enclave.keys.files import new_symmetric
from enclave.keys.uri import file_uri
from enclave.reidentification.daemon import VaultDaemon
from enclave.reidentification.key_map import Entry, KeyMap, parse_entry
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.intake import ListBatches
from enclave.wire.messages.vault import AskState, StoreMap

BATCH = "b" * 32
CANARY = "Zanaryquist-77"


def row(number: int, *, days: int = -5, original: str = "") -> dict[str, Any]:
    return {"pseudonym": f"P-{number}", "original_ids": [original or f"MRN{number}"], "offset_days": days}


@pytest.fixture
def vault(auditd: Any) -> Iterator[tuple[Any, WireClient]]:
    """A running vault and a client of it."""
    new_symmetric(auditd.home.key_file("vault"))
    daemon = VaultDaemon(auditd.home, log=Log("vaultd"))
    daemon.start()
    client = WireClient(auditd.home.socket("vaultd"))
    yield auditd, client
    client.close()
    daemon.close()


def key_map(folder: Path) -> KeyMap:
    if not (folder / "v.key").exists():
        new_symmetric(folder / "v.key")
    return KeyMap(folder / "vault", box=open_box(file_uri(folder / "v.key")))


def test_rows_are_merged_over_batches_and_counted(vault: Any) -> None:
    _, client = vault
    client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(1), row(2))))
    client.call(StoreMap(dataset="demo-ct", batch="c" * 32, rows=(row(2), row(3))))
    client.call(StoreMap(dataset="other", batch="d" * 32, rows=(row(1),)))
    assert client.call(AskState()).datasets == {"demo-ct": 3, "other": 1}


def test_what_is_stored_is_in_the_ledger_as_counts_and_on_disk_as_ciphertext(vault: Any) -> None:
    auditd, client = vault
    client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(1, original=CANARY),)))
    told = auditd.events(kind="vault.store")
    assert [event["outcome"] for event in told] == ["intent", "ok"]
    assert told[1]["detail"] == {"batch": BATCH, "rows": 1, "subjects": 1}
    for path in auditd.home.root.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes()
    assert (auditd.home.state("vault") / "demo-ct.map").stat().st_mode & 0o777 == 0o600


def test_no_receipt_means_that_nothing_is_stored(vault: Any) -> None:
    auditd, client = vault
    auditd.stop()
    with pytest.raises(UnavailableError):
        client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(1),)))
    auditd.start()
    assert client.call(AskState()).datasets == {}


def test_another_offset_for_a_known_pseudonym_is_a_conflict_and_changes_nothing(vault: Any) -> None:
    auditd, client = vault
    client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(1),)))
    with pytest.raises(ConflictError) as caught:
        client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(2), row(1, days=-9))))
    assert caught.value.code == "offset_changed"
    assert client.call(AskState()).datasets == {"demo-ct": 1}
    assert auditd.events(kind="vault.store", outcome="failed")[0]["reason"] == "offset_changed"


def test_one_original_under_two_pseudonyms_is_a_conflict(tmp_path: Path) -> None:
    held = key_map(tmp_path)
    held.merge("a", (Entry("P-1", ("x",), -1),))
    with pytest.raises(ConflictError):
        held.merge("a", (Entry("P-2", ("x",), -1),))
    assert held.counts() == {"a": 1}


def test_a_map_of_another_dataset_or_changed_bytes_is_not_opened(tmp_path: Path) -> None:
    held = key_map(tmp_path)
    held.merge("a", (Entry("P-1", ("x",), -1),))
    file = tmp_path / "vault" / "a.map"
    (tmp_path / "vault" / "b.map").write_bytes(file.read_bytes())
    with pytest.raises(IntegrityError):
        held.merge("b", (Entry("P-2", ("y",), -1),))
    (tmp_path / "vault" / "b.map").unlink()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        held.counts()


def test_a_process_of_another_user_is_refused(auditd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    new_symmetric(auditd.home.key_file("vault"))
    daemon = VaultDaemon(auditd.home, log=Log("vaultd"))
    monkeypatch.setattr(daemon._server, "_allowed", frozenset({4242}))
    daemon.start()
    client = WireClient(auditd.home.socket("vaultd"))
    with pytest.raises(DeniedError):
        client.call(StoreMap(dataset="demo-ct", batch=BATCH, rows=(row(1),)))
    client.close()
    daemon.close()
    assert auditd.events(kind="vault.store") == []


def test_the_vault_has_no_request_that_gives_an_original_out(vault: Any) -> None:
    _, client = vault
    with pytest.raises(InvalidError):
        client.call(ListBatches(token="x"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    )
    | st.fixed_dictionaries({
        "pseudonym": st.text(max_size=5) | st.none(),
        "original_ids": st.lists(st.text(max_size=4) | st.integers(), max_size=3) | st.none(),
        "offset_days": st.integers() | st.floats() | st.booleans(),
    })
)  # fmt: skip
def test_a_row_is_an_entry_or_an_error_of_ours(value: Any) -> None:
    try:
        entry = parse_entry(value)
    except InvalidError:
        return
    assert entry.pseudonym
    assert entry.original_ids
    assert type(entry.offset_days) is int
