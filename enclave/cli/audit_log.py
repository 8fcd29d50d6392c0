"""What the commands on a ledger's files share: which log, whose key, how its daemon is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.output import home_of, words
from enclave.core.errors import IntegrityError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient

LogOption = Annotated[
    Path | None,
    typer.Option("--log", metavar="DIR", help="A copy of the ledger's folder; default: the home's own."),
]
VkeyOption = Annotated[
    Path | None,
    typer.Option("--vkey", metavar="FILE", help="The log's verifier key, kept elsewhere; default: the home's."),
]


def verifier_key(log: Path | None, vkey_file: Path | None, home: Path | None) -> Any:
    """The verifier key given; else the home's public key under the log's name; else the one beside the log."""
    from enclave.audit.checkpoint import VerifierKey
    from enclave.audit.settings import AuditSettings
    from enclave.audit.verify import log_folder, read_vkey
    from enclave.keys.verify import public_half_of, read_public

    if vkey_file is not None:
        return read_vkey(vkey_file)
    if log is None:
        at = home_of(home)
        beside = read_vkey(log_folder(at.state("audit")) / "log" / "vkey")
        elsewhere = at.settings(AuditSettings, section="audit").checkpoint_key_uri
        if elsewhere:
            return VerifierKey(beside.name, public_half_of(elsewhere))
        public = at.key_file("audit-checkpoint").with_suffix(".pub")
        return VerifierKey(beside.name, read_public(public)) if public.is_file() else beside
    words().print("Checked with the key that lies beside the log; give --vkey to use one kept elsewhere.")
    return read_vkey(log_folder(log) / "log" / "vkey")


def read_saved(path: Path) -> str:
    """A checkpoint that somebody saved; raises ``IntegrityError``: who asks for a comparison shall not go without."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise IntegrityError(f"checkpoint {path.name}: wanted a file to read, got none") from None


def tell_verdict(verdict: Any, *, whole: str) -> None:
    """Says ``whole`` of a log that is; else names the differences and raises ``IntegrityError``."""
    if verdict.ok:
        words().print(whole, markup=False)
        return
    for finding in verdict.damage[:20]:
        at = "" if finding.seq is None else f" at event {finding.seq}"
        words().print(f"{finding.kind}{at} ({finding.segment}, byte {finding.offset})", markup=False)
    where = "" if verdict.first_bad_seq is None else f", the first at event {verdict.first_bad_seq}"
    raise IntegrityError(
        f"ledger: wanted what was signed, got {counted(len(verdict.damage), 'difference')}{where}; "
        "keep this copy, compare it with one kept elsewhere",
        code="ledger_damaged",
    )


def counted(number: int, thing: str) -> str:
    """``1 event``, ``2 events``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def call(home: Home, message: Any, *, daemon: str = "auditd", timeout_s: float = 60.0) -> Any:
    """What the ledger's daemon, or the one named, answers; raises the error that it raised."""
    client = WireClient(home.socket(daemon))
    try:
        return client.call(message, timeout_s=timeout_s)
    finally:
        client.close()
