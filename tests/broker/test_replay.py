"""The command that derives a certificate's numbers again: over the broker's socket, with its exit codes and events."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from enclave.cli.main import main
from enclave.determination.certificate import (
    Certificate,
    Expert,
    ReleaseTerms,
    SignedCertificate,
    certificate_text,
    pack,
)

pytestmark = pytest.mark.row("S13.7")

METHODS = {
    "measured_table": "patients",
    "quasi_identifiers": ["age_band"],
    "subject": "patient",
    "nulls": "own_category",
    "sensitive": [],
    "model": {"k": 2},
    "population_size": None,
}
COUNTS = {"rows": 2, "subjects": 2, "studies": 0, "series": 1, "table_rows": {"patients": 2}}


def run(folder: Path, home: Path, root: str, *, counts: dict[str, Any]) -> tuple[int, Any]:
    """Replays a certificate that states these counts and the share at risk of two people who are both unique."""
    certificate = Certificate(
        id="0" * 32,
        dataset="demo-ct",
        version=1,
        content_root=root,
        expert=Expert(principal="edgar", name="E", qualification="Q", independence="I", engagement="E-1"),
        steward="stella",
        release=ReleaseTerms(model="enclave", recipients=("demo",)),
        drafted="2026-01-01T00:00:00.000000Z",
        not_before="2026-01-01T00:00:00.000000Z",
        expires="2027-01-01T00:00:00.000000Z",
        counts=counts,
        methods=METHODS,
        results={"before": {"k": 1}, "k_after": 1},
    )
    (folder / "C.json").write_bytes(pack(SignedCertificate(certificate_text(certificate))))
    out = folder / "r.json"
    out.unlink(missing_ok=True)
    asked = ["determination", "replay", folder / "C.json", "--dataset", "demo-ct@1", "--home", home, "--json", out]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(sys, "argv", ["enclave", *map(str, asked)])
        main()
    return int(caught.value.code or 0), json.loads(out.read_text("utf-8")) if out.exists() else None


def test_the_command_says_that_all_numbers_came_out_again_or_which_did_not(broker: Any, tmp_path: Path) -> None:
    home, root = broker.audit.home.root, broker.store.info(_version()).content_root
    code, found = run(tmp_path, home, root, counts=COUNTS)
    assert (code, found["ok"], found["numbers"]) == (0, True, 6)
    assert "results.before" in found["not_derivable"]
    code, found = run(tmp_path, home, root, counts={**COUNTS, "rows": 3})
    assert (code, [one["name"] for one in found["compared"] if not one["ok"]]) == (15, ["counts.rows"])
    assert run(tmp_path, home, "cd" * 32, counts=COUNTS)[0] == 15
    outcomes = [(event["outcome"], event.get("reason")) for event in broker.events(kind="determination.replay")]
    assert outcomes[1::2] == [("ok", None), ("failed", "numbers_differ"), ("failed", "other_root")]
    assert "Canary" not in repr(broker.events(kind="determination.replay"))


def _version() -> Any:
    from enclave.core.ids import VersionName

    return VersionName("demo-ct", 1)
