"""``enclave determination`` without an enclave: draft, sign, verify, one byte changed."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from optional import need

from enclave.cli.main import main
from enclave.keys.files import new_ed25519
from enclave.keys.verify import read_public
from enclave.registry.trust import write_revoked
from enclave.runtime.home import home_from

ROOT = "ab" * 32
D_TOML = """
[expert]
principal = "edgar"
name = "Edgar Example"
qualification = "statistician"
independence = "no part in the study"
engagement = "E-1"
[release]
model = "enclave"
recipients = ["demo"]
[validity]
days = 30
not_before = "2026-01-01T00:00:00Z"
"""

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*argv: object) -> int:
        monkeypatch.setattr(sys, "argv", ["enclave", *map(str, argv)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


@pytest.fixture
def folder(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed certificate ``C.json`` and the expert's public key ``edgar.pub``."""
    monkeypatch.setenv("ENCLAVE_HOME", str(tmp_path / "no-home"))
    (tmp_path / "D.toml").write_text(D_TOML)
    (tmp_path / "A.json").write_text('{"k": 11}')
    new_ed25519(tmp_path / "edgar.key")
    files = ("--assessment", tmp_path / "A.json", "--config", tmp_path / "D.toml", "--output", tmp_path / "C.json")
    assert run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella") == 0
    assert run("determination", "sign", tmp_path / "C.json", "--key", f"file:{tmp_path / 'edgar.key'}", "--yes") == 0
    return tmp_path


def verify(run: Run, folder: Path, *options: object) -> tuple[int, Any]:
    out = folder / "v.json"
    out.unlink(missing_ok=True)
    asked = ("determination", "verify", folder / "C.json", "--trust", folder / "edgar.pub", "--json", out)
    code = run(*asked, *options)
    return code, json.loads(out.read_text("utf-8")) if out.exists() else None


@pytest.mark.row("S13.7")
@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--root", ROOT, "--at", "2026-01-02T00:00:00Z"), 0, "ok"),
        (("--root", ROOT.upper(), "--at", "2026-01-02T00:00:00Z"), 0, "ok"),
        (("--root", ROOT, "--at", "2025-12-31T00:00:00Z"), 10, "not_yet_valid"),
        (("--root", ROOT, "--at", "2026-01-31T00:00:00Z"), 10, "expired"),
        (("--root", "cd" * 32, "--at", "2026-01-02T00:00:00Z"), 15, "other_root"),
    ],
)
def test_verify_answers_with_its_exit_code(run: Run, folder: Path, options: Any, code: int, reason: str) -> None:
    found = verify(run, folder, *options)
    assert found == (code, {"valid": code == 0, "reason": reason, "expires": "2026-01-31T00:00:00.000000Z"})


def test_verify_knows_revocation_and_other_keys(run: Run, folder: Path) -> None:
    certificate = json.loads((folder / "C.json").read_text("utf-8"))["certificate"]["id"]
    (folder / "revoked.json").write_text(json.dumps([certificate]))
    at = ("--root", ROOT, "--at", "2026-01-02T00:00:00Z")
    assert verify(run, folder, *at, "--revoked", folder / "revoked.json")[1]["reason"] == "revoked"
    new_ed25519(folder / "other.key")
    code, found = verify(run, folder, *at, "--trust", folder / "other.pub")
    assert (code, found["reason"]) == (15, "untrusted_expert")


def test_verify_in_a_home_asks_what_the_registry_has_revoked(run: Run, folder: Path) -> None:
    certificate = json.loads((folder / "C.json").read_text("utf-8"))["certificate"]["id"]
    at = ("--root", ROOT, "--at", "2026-01-02T00:00:00Z")
    assert verify(run, folder, *at)[0] == 0
    write_revoked(home_from(None), [{"id": certificate, "revoked": "2026-01-01T12:00:00Z"}], at=datetime.now(UTC))
    assert verify(run, folder, *at) == (
        10,
        {"valid": False, "reason": "revoked", "expires": "2026-01-31T00:00:00.000000Z"},
    )
    (folder / "revoked.json").write_text("[]")
    assert verify(run, folder, *at, "--revoked", folder / "revoked.json")[0] == 0  # the list that was named


def test_a_time_beyond_all_calendars_is_no_time(run: Run, folder: Path) -> None:
    assert verify(run, folder, "--root", ROOT, "--at", "0001-01-01T00:00:00+14:00") == (12, None)


def test_the_text_is_shown_letter_by_letter(run: Run, folder: Path, capsys: Any) -> None:
    said = "risk below :100: percent [bold]at most[/bold] :warning: \\[x]"
    (folder / "D.toml").write_text(f"conditions = ['{said}']\n" + D_TOML)
    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml", "--output", folder / "S.json")
    run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella")
    capsys.readouterr()
    run("determination", "sign", folder / "S.json", "--key", f"file:{folder / 'edgar.key'}", "--yes")
    assert json.dumps(said) in capsys.readouterr().err


def test_verify_without_a_list_trusts_nobody(run: Run, folder: Path) -> None:
    out = folder / "v.json"
    assert run("determination", "verify", folder / "C.json", "--root", ROOT, "--json", out) == 15
    assert json.loads(out.read_text("utf-8"))["reason"] == "untrusted_expert"


@pytest.mark.parametrize("place", [0, 1, 40, -2, -1])
def test_one_byte_changed_is_altered(run: Run, folder: Path, place: int) -> None:
    data = bytearray((folder / "C.json").read_bytes())
    data[place] ^= 1
    (folder / "C.json").write_bytes(bytes(data))
    code, found = verify(run, folder, "--root", ROOT, "--at", "2026-01-02T00:00:00Z")
    assert (code, found) == (15, {"valid": False, "reason": "altered", "expires": None})


def test_sign_shows_the_text_and_asks(run: Run, folder: Path, capsys: Any, monkeypatch: Any) -> None:
    import io

    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml", "--output", folder / "E.json")
    run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella")
    key = ("--key", f"file:{folder / 'edgar.key'}")
    monkeypatch.setattr(sys, "stdin", io.StringIO("no\n"))
    assert run("determination", "sign", folder / "E.json", *key) == 10
    assert b"signature" not in (folder / "E.json").read_bytes()
    told = capsys.readouterr().err
    assert "SHA-256 of the canonical text" in told
    assert ROOT in told
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert run("determination", "sign", folder / "E.json", *key) == 0
    assert run("determination", "sign", folder / "E.json", *key, "--yes") == 13


@pytest.mark.row("S4.2")
def test_an_expert_makes_a_key_or_signs_with_one_on_a_token(run: Run, folder: Path) -> None:
    need("softhsm")
    from softhsm import soft_token

    assert run("determination", "key", "new", folder / "second.key") == 0
    assert run("determination", "key", "new", folder / "second.key") == 13
    assert run("determination", "key", "public", f"file:{folder / 'second.key'}", folder / "copy.pub") == 0
    assert (folder / "copy.pub").read_bytes() == (folder / "second.pub").read_bytes()
    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml")
    at = ("--root", ROOT, "--at", "2026-01-02T00:00:00Z")
    (folder / "hsm").mkdir()
    with soft_token(folder / "hsm") as token:
        token.new_key("edgar")
        assert run("determination", "key", "public", token.uri("edgar"), folder / "token.pub") == 0
        (folder / "C.json").unlink()
        run(
            "determination",
            "draft",
            "demo-ct@1",
            *files,
            "--root",
            ROOT,
            "--steward",
            "stella",
            "--output",
            folder / "C.json",
        )
        wrong = token.uri("nobody")
        assert run("determination", "sign", folder / "C.json", "--key", wrong, "--yes") == 11
        assert run("determination", "sign", folder / "C.json", "--key", token.uri("edgar"), "--yes") == 0
    assert verify(run, folder, *at, "--trust", folder / "token.pub")[1]["reason"] == "ok"
    assert verify(run, folder, *at)[1]["reason"] == "untrusted_expert"


def test_usage_and_missing_files(run: Run, folder: Path) -> None:
    assert run("determination", "verify", folder / "C.json") == 2
    assert run("determination", "verify", folder / "nowhere.json", "--root", ROOT) == 11
    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml", "--output", folder / "C.json")
    assert run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella") == 13
    assert run("determination", "draft", "demo-ct", *files, "--root", ROOT, "--steward", "stella") == 12


def test_the_steward_countersigns_what_the_expert_signed(run: Run, folder: Path) -> None:
    new_ed25519(folder / "stella.key")
    key = ("--key", f"file:{folder / 'stella.key'}", "--yes")
    assert run("determination", "countersign", folder / "C.json", *key) == 0
    assert set(json.loads((folder / "C.json").read_text("utf-8"))) == {"certificate", "signature", "countersignature"}
    assert verify(run, folder, "--root", ROOT, "--at", "2026-01-02T00:00:00Z")[0] == 0
    assert run("determination", "countersign", folder / "C.json", *key) == 13
    place = (folder / "C.json").read_bytes().index(b"countersignature")
    data = bytearray((folder / "C.json").read_bytes())
    data[place + 100] ^= 1
    (folder / "C.json").write_bytes(bytes(data))
    assert verify(run, folder, "--root", ROOT, "--at", "2026-01-02T00:00:00Z")[1]["reason"] == "altered"


def test_what_is_not_signed_is_not_countersigned(run: Run, folder: Path, capsys: Any) -> None:
    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml", "--output", folder / "E.json")
    run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella")
    assert "takes none without: release.purposes" in capsys.readouterr().err
    key = f"file:{folder / 'edgar.key'}"
    assert run("determination", "countersign", folder / "E.json", "--key", key, "--yes") == 13


@pytest.mark.row("S10.7")
def test_to_trust_a_key_is_recorded_with_its_ticket_and_so_is_that_it_was_refused(auditd: Any, folder: Path) -> None:
    from enclave.cli.determination_trust import trust_key
    from enclave.core.errors import ConflictError

    new_ed25519(auditd.home.key_file("registry-sign"))
    told: dict[str, Any] = {
        "public_key": read_public(folder / "edgar.pub"),
        "principal": "edgar",
        "name": "",
        "demo": True,
    }
    trust_key(auditd.home, **told, ticket="CHG-1")
    with pytest.raises(ConflictError):
        trust_key(auditd.home, **told, ticket="CHG-2")
    found = auditd.events(kind="admin.trust_expert")
    assert [(e["outcome"], e["ticket"]) for e in found] == [
        ("intent", "CHG-1"),
        ("ok", "CHG-1"),
        ("intent", "CHG-2"),
        ("refused", "CHG-2"),
    ]


@pytest.mark.row("S10.7")
def test_to_trust_a_key_that_the_disk_refuses_is_recorded_as_failed(
    auditd: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enclave.cli.determination_trust import trust_key
    from enclave.core.errors import UnavailableError
    from enclave.registry import trust

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    new_ed25519(auditd.home.key_file("registry-sign"))
    monkeypatch.setattr(trust, "write_whole", full)
    told: dict[str, Any] = {"public_key": read_public(folder / "edgar.pub"), "principal": "edgar", "name": ""}
    with pytest.raises(UnavailableError) as caught:
        trust_key(auditd.home, **told, demo=True, ticket="CHG-1")
    assert caught.value.code == "disk_refused"
    found = auditd.events(kind="admin.trust_expert")
    assert [(e["outcome"], e.get("reason")) for e in found] == [("intent", None), ("failed", "disk_refused")]
    assert not trust.trust_file(auditd.home).exists()


def test_a_key_that_was_taken_off_the_list_signed_nothing_at_whatever_time_one_asks(
    run: Run, folder: Path, auditd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enclave.registry.trust import trust_expert, trust_file
    from enclave.runtime.clock import SystemClock

    new_ed25519(auditd.home.key_file("registry-sign"))
    key = read_public(folder / "edgar.pub")
    long_ago = SystemClock().now().replace(year=2025)
    trust_expert(auditd.home, principal="edgar", public_key=key, at=long_ago)
    listed = ("--trust", trust_file(auditd.home))
    times = ("2026-01-02T00:00:00Z", "2026-01-30T00:00:00Z")
    assert [verify(run, folder, "--root", ROOT, "--at", at, *listed)[0] for at in times] == [0, 0]
    monkeypatch.setenv("ENCLAVE_HOME", str(auditd.home.root))
    gone = ("determination", "distrust", folder / "edgar.pub", "--reason", "Stolen.", "--ticket", "CHG-3")
    assert run(*gone) == 0
    assert run(*gone) == 13
    assert run("determination", "distrust", "ab" * 32, "--reason", "Stolen.") == 11
    assert run("determination", "distrust", folder / "nowhere.pub", "--reason", "Stolen.") == 11
    for at in times:
        code, found = verify(run, folder, "--root", ROOT, "--at", at, *listed)
        assert (code, found["reason"]) == (15, "untrusted_expert")
    told = [e["outcome"] for e in auditd.events(kind="admin.distrust_expert")]
    assert told == ["intent", "ok", "intent", "refused", "intent", "refused"]


@pytest.mark.parametrize(("demo", "code"), [(True, 0), (False, 15)])
def test_a_demonstrations_key_counts_only_in_a_demonstrations_home(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, demo: bool, code: int
) -> None:
    from enclave.cli.init import make_home
    from enclave.registry.trust import trust_expert
    from enclave.runtime.clock import SystemClock

    home = make_home(folder / "home", port=8000, demo=demo)
    key = read_public(folder / "edgar.pub")
    trust_expert(home, principal="edgar", public_key=key, demo=True, at=SystemClock().now())
    monkeypatch.setenv("ENCLAVE_HOME", str(home.root))
    at = ("--at", "2027-01-02T00:00:00Z")
    (folder / "D.toml").write_text(D_TOML.replace("2026-01-01", "2027-01-01"))
    (folder / "C.json").unlink()
    files = ("--assessment", folder / "A.json", "--config", folder / "D.toml", "--output", folder / "C.json")
    run("determination", "draft", "demo-ct@1", *files, "--root", ROOT, "--steward", "stella")
    run("determination", "sign", folder / "C.json", "--key", f"file:{folder / 'edgar.key'}", "--yes")
    assert run("determination", "verify", folder / "C.json", "--root", ROOT, *at) == code


def test_the_registry_refuses_a_demonstrations_key_beside_real_people() -> None:
    from enclave.cli.registryd import check_no_demo_keys
    from enclave.core.errors import InvalidError
    from enclave.hub.settings import HubSettings
    from enclave.registry.settings import RegistrySettings

    real = HubSettings(idp_issuer="https://idp.example")
    check_no_demo_keys(RegistrySettings(), real)
    check_no_demo_keys(RegistrySettings(allow_demo_keys=True), HubSettings())
    with pytest.raises(InvalidError) as caught:
        check_no_demo_keys(RegistrySettings(allow_demo_keys=True), real)
    assert caught.value.code == "demo_keys_in_production"
