"""``enclave audit`` vkey, checkpoint, verify, prove, check-proof: what the ledger's files prove, and to whom."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from enclave.cli.audit_log import LogOption, VkeyOption, call, counted, read_saved, tell_verdict, verifier_key
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import NotFoundError, UnavailableError
from enclave.wire.messages import audit as ask


def vkey(log: LogOption = None, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Print the log's verifier key: keep it where the ledger's user cannot write."""
    key = str(verifier_key(log, None, home))
    if json_path is not None:
        write_json({"vkey": key}, json_path)
    else:
        print(key)  # noqa: T201 - the result itself


def checkpoint(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Print a fresh signed checkpoint: save it, and later `verify --against` it. Exit 14 when it is an older one."""
    state = call(home_of(home), ask.State())
    if json_path is not None:
        write_json(dataclasses.asdict(state), json_path)
    else:
        sys.stdout.write(state.checkpoint)
    if state.unsigned:
        raise UnavailableError(
            f"checkpoint: wanted a fresh one, got the last that was signed, over {counted(state.size, 'event')}; "
            f"{counted(state.unsigned, 'newer event')} cannot be signed now. See to the ledger's key or its token",
            code="checkpoint_old",
        )


def verify(
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", metavar="CHECKPOINT", help="A checkpoint saved earlier or elsewhere; may be repeated."
        ),
    ] = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Check a ledger from its files alone; needs no running enclave. Exit 15 when something is wrong."""
    from enclave.audit.verify import verify_log

    folder = log if log is not None else home_of(home).state("audit")
    saved = tuple(read_saved(path) for path in against or ())
    verdict = verify_log(folder, key=verifier_key(log, vkey_file, home), against=saved)
    if json_path is not None:
        write_json(dataclasses.asdict(verdict), json_path)
    tell_verdict(verdict, whole=f"The ledger is whole: {counted(verdict.size, 'event')}, root {verdict.root}.")


def prove(
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=0, help="The event's sequence number.")],
    old_size: Annotated[
        int,
        typer.Option("--from", metavar="SIZE", min=0, help="Also prove that the log of this size is its beginning."),
    ] = 0,
    tlog_proof: Annotated[
        Path | None,
        typer.Option("--tlog-proof", metavar="FILE", help="Also write the inclusion proof as C2SP tlog-proof."),
    ] = None,
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Prove from the files that an event is in the signed log."""
    from enclave.audit import prove as proofs

    folder = log if log is not None else home_of(home).state("audit")
    proof = proofs.prove(folder, seq, old_size=old_size, key=verifier_key(log, vkey_file, home))
    if tlog_proof is not None:
        tlog_proof.write_text(proofs.tlog_proof(proof), "utf-8")
    write_json(dataclasses.asdict(proof), json_path or "-")


def check_proof(
    file: Annotated[Path, typer.Argument(metavar="PROOF", help="What `enclave audit prove` wrote.")],
    vkey_file: Annotated[
        Path, typer.Option("--vkey", metavar="FILE", help="The log's verifier key, kept elsewhere than the proof.")
    ],
    json_path: JsonOption = None,
) -> None:
    """Check a proof anywhere, without the log and without an enclave. Exit 15 when it does not hold."""
    from enclave.audit.prove import check_proof as check
    from enclave.audit.prove import parse_proof
    from enclave.audit.verify import read_vkey

    try:
        proof = parse_proof(file.read_bytes())
    except OSError:
        raise NotFoundError(f"proof {file.name}: wanted a file to read, got none") from None
    head = check(proof, key=read_vkey(vkey_file))
    if json_path is not None:
        told = {"ok": True, "seq": proof.seq, "size": head.size, "root": head.root.hex(), "old_size": proof.old_size}
        write_json(told, json_path)
    words().print(f"Event {proof.seq} stands in the log {head.origin} of {counted(head.size, 'event')}.", markup=False)
    if proof.old_size:
        words().print(f"The log of {counted(proof.old_size, 'event')} is its beginning.")


COMMANDS = (vkey, checkpoint, verify, prove, check_proof)
