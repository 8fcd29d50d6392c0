"""``enclave determination``: draft, sign, verify and revoke what an expert determines.

``verify`` stands alone. ``sign`` runs on the expert's machine: their key is opened here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.determination_key import key_app
from enclave.cli.determination_report import reaffirm, replay, report
from enclave.cli.determination_trust import distrust, trust
from enclave.cli.output import (
    HomeOption,
    JsonOption,
    ReasonOption,
    TicketOption,
    home_of,
    ticket_of,
    words,
    write_file,
    write_json,
)
from enclave.cli.project import ask_registry
from enclave.cli.session import read_token
from enclave.core.clock import parse_time
from enclave.core.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.core.ids import VersionName
from enclave.core.secret import Secret
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, home_from
from enclave.wire.messages import registry
from enclave.wire.messages.determination import SubmitCountersignature
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Draft, sign, verify and revoke expert determinations.")
app.command()(report)
app.command()(replay)
app.command()(reaffirm)
app.command()(trust)
app.command()(distrust)
app.add_typer(key_app, name="key")

CertificateFile = Annotated[Path, typer.Argument(metavar="C.json")]
CertificateId = Annotated[str, typer.Argument(metavar="ID")]
SubmitOption = Annotated[bool, typer.Option("--submit", help="Also hand it to the enclave (needs `enclave login`).")]


@app.command()
def draft(
    version: str = typer.Argument(metavar="NAME@V"),
    assessment: Path = typer.Option(..., help="What `enclave risk assess` or `anonymise` wrote."),
    config: Path = typer.Option(..., help="D.toml: expert, release terms, validity, thresholds, conditions."),
    output: Path = typer.Option(..., help="The certificate file to write."),
    steward: str = typer.Option("", help="The data steward of the version (default: as registered)."),
    root: str = typer.Option("", help="The content root (default: that of the sealed version)."),
    submit: SubmitOption = False,
    home: HomeOption = None,
) -> None:
    """Draft the certificate of a sealed version; nobody has signed it yet."""
    from enclave.determination.certificate import SignedCertificate, certificate_text, pack
    from enclave.determination.drafting import draft_certificate, parse_draft_config

    name = VersionName.parse(version)
    settings, free = parse_draft_config(_read(config).decode("utf-8"))
    results = _parse_json_object(_read(assessment), name=assessment.name)
    known = None if steward else _registered(home, name)
    certificate = draft_certificate(
        settings,
        free,
        certificate_id=secrets.token_hex(16),
        name=name,
        content_root=root or _sealed_root(home, name),
        steward=steward or _steward_of(known),
        evidence={**_evidence_of(known), "results": _results_of(known, results)},
        at=SystemClock().now(),
    )
    text = certificate_text(certificate)
    _write_new(output, pack(SignedCertificate(text)))
    if submit:
        at = home_of(home)
        ask_registry(at, registry.DraftDetermination(token=read_token(at), text=text.decode("utf-8")))
    _tell_gaps(certificate)
    words().print(f"Drafted {output.name}. Next: the expert runs `enclave determination sign {output.name} --key URI`.")


@app.command()
def sign(
    file: CertificateFile,
    key: str = typer.Option(..., help="Where the expert's own signing key is: file:/PATH or pkcs11:…"),
    yes: bool = typer.Option(False, "--yes", help="Do not ask after the text was shown."),
    submit: SubmitOption = False,
    home: HomeOption = None,
) -> None:
    """Show the canonical text and its digest, then sign it with the expert's own key."""
    from enclave.determination.certificate import Signature, SignedCertificate, encode, pack, parse_certificate, unpack

    unsigned = unpack(_read(file))
    if unsigned.signature is not None:
        raise ConflictError(f"{file.name}: wanted an unsigned certificate, got a signed one; draft a new one")
    certificate = parse_certificate(unsigned.text)
    _show(unsigned.text)
    _tell_gaps(certificate)
    if not yes and not _confirmed():
        raise DeniedError("sign: wanted the expert's yes, got none; nothing was signed", code="not_confirmed")
    public_key, signature = signature_over(key, unsigned.text)
    write_file(file, pack(SignedCertificate(unsigned.text, Signature(public_key=public_key, value=signature))))
    words().print(f"Signed {file.name}.")
    if submit:
        at = home_of(home)
        message = registry.SubmitSignature(token=read_token(at), id=certificate.id, signature=encode(signature))
        _tell(ask_registry(at, message), None)


@app.command()
def countersign(
    file: CertificateFile,
    key: str = typer.Option(..., help="Where the data steward's own signing key is: file:/PATH or pkcs11:…"),
    yes: bool = typer.Option(False, "--yes", help="Do not ask after the text was shown."),
    submit: SubmitOption = False,
    home: HomeOption = None,
) -> None:
    """Show a signed certificate, then countersign it with the data steward's own key; no release goes without."""
    from enclave.determination.certificate import (
        Signature,
        SignedCertificate,
        countersigned_bytes,
        encode,
        pack,
        parse_certificate,
        unpack,
    )

    signed = unpack(_read(file))
    if signed.signature is None or signed.countersignature is not None:
        got = "an unsigned one" if signed.signature is None else "one that has it"
        raise ConflictError(f"{file.name}: wanted a signed certificate without counter-signature, got {got}")
    _show(signed.text)
    if not yes and not _confirmed():
        raise DeniedError("countersign: wanted the steward's yes, got none; nothing was signed", code="not_confirmed")
    public_key, value = signature_over(key, countersigned_bytes(signed.text, signed.signature))
    counter = Signature(public_key=public_key, value=value)
    write_file(file, pack(SignedCertificate(signed.text, signed.signature, counter)))
    words().print(f"Countersigned {file.name}.")
    if submit:
        at = home_of(home)
        message = SubmitCountersignature(
            token=read_token(at), id=parse_certificate(signed.text).id, signature=encode(value)
        )
        _tell(ask_registry(at, message), None)


def signature_over(key: str, message: bytes) -> tuple[bytes, bytes]:
    """A person's public key and signature over ``message``; the key stays where ``key`` (a URI) says.

    On a terminal the PIN of a token is asked for when the URI names no file with it.
    """
    from enclave.keys.sign import open_signer

    signer = open_signer(key, ask_pin=_ask_pin if sys.stdin.isatty() else None)
    return signer.public_key, signer.sign(message)


def _ask_pin() -> Secret:
    return Secret(str(typer.prompt("PIN of the token", hide_input=True, err=True)).encode())


@app.command()
def verify(
    file: CertificateFile,
    dataset: str = typer.Option("", help="NAME@V: the sealed version it must be about."),
    root: str = typer.Option("", help="The content root it must be about."),
    trust: Path | None = typer.Option(None, help="Trusted experts: the registry's list, or one .pub file."),
    at: str = typer.Option("", help="The time to judge by (RFC 3339; default: now)."),
    revoked: Path | None = typer.Option(
        None, help="Revoked certificates (default: the registry's list, if there is one)."
    ),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Say whether a signed certificate holds: exit 0, 10 (time, revocation) or 15 (altered, other root, untrusted)."""
    from enclave.determination.verification import verify_file

    if bool(dataset) == bool(root):
        raise typer.BadParameter("give either --dataset or --root")
    found = verify_file(
        _read(file),
        content_root=root.lower() if root else _sealed_root(home, VersionName.parse(dataset)),
        version=dataset or None,
        trusted=_trusted(trust, home),
        revoked=_revoked(revoked, home),
        at=parse_time(at) if at else SystemClock().now(),
    )
    if json_path is not None:
        write_json({"valid": found.valid, "reason": found.reason, "expires": found.expires}, json_path)
    if found.valid:
        words().print(f"Valid until {found.expires}.")
    found.check()


@app.command()
def show(certificate: CertificateId, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show one determination of the enclave: state, canonical text, digest."""
    at = home_of(home)
    found = ask_registry(at, registry.ShowDetermination(token=read_token(at), id=certificate))
    if json_path is None:
        _show(found.text.encode())
    _tell(found, json_path)


@app.command("list")
def list_determinations(
    dataset: str = typer.Option("", help="Only this dataset."), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """List the determinations of the enclave, newest first."""
    at = home_of(home)
    found = ask_registry(at, registry.ListDeterminations(token=read_token(at), dataset=dataset or None))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.certificates:
        _tell(one, None)
    if not found.certificates:
        words().print("There is no determination yet.")


@app.command()
def begin(certificate: CertificateId, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Begin to assess (the named expert); the candidate may be opened from then on."""
    at = home_of(home)
    _tell(ask_registry(at, registry.BeginAssessment(token=read_token(at), id=certificate)), json_path)


@app.command()
def submit(file: CertificateFile, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Hand a drafted, signed or countersigned certificate file to the enclave: its newest part."""
    from enclave.determination.certificate import encode, parse_certificate, unpack

    at, found = home_of(home), unpack(_read(file))
    message: Any
    if found.signature is None:
        message = registry.DraftDetermination(token=read_token(at), text=found.text.decode("utf-8"))
    elif found.countersignature is None:
        certificate = parse_certificate(found.text)
        signature = encode(found.signature.value)
        message = registry.SubmitSignature(token=read_token(at), id=certificate.id, signature=signature)
    else:
        certificate = parse_certificate(found.text)
        signature = encode(found.countersignature.value)
        message = SubmitCountersignature(token=read_token(at), id=certificate.id, signature=signature)
    _tell(ask_registry(at, message), json_path)


@app.command()
def decline(
    certificate: CertificateId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """Decline to sign (the named expert)."""
    at = home_of(home)
    message = registry.DeclineDetermination(token=read_token(at), id=certificate, reason=reason)
    _tell(ask_registry(at, message), json_path)


@app.command()
def revoke(
    certificate: CertificateId,
    reason: ReasonOption,
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Revoke a signed determination (its expert or an honest broker); leases under it end within seconds."""
    at = home_of(home)
    message = registry.RevokeDetermination(
        token=read_token(at), id=certificate, reason=reason, ticket=ticket_of(ticket)
    )
    _tell(ask_registry(at, message), json_path)


# ── inner steps ─────────────────────────────────────────────────────────────


def _show(text: bytes) -> None:

    words().print(json.dumps(json.loads(text), indent=2, ensure_ascii=False), markup=False)
    words().print(f"SHA-256 of the canonical text: {hashlib.sha256(text).hexdigest()}")


def _confirmed() -> bool:
    words().print("Type yes to sign this text: ", end="")
    return sys.stdin.readline().strip().lower() == "yes"


def _tell(found: registry.Certificate, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    about = json.loads(found.text)
    words().print(
        f"{found.id}  {about['dataset']}@{about['version']}: {found.state} "
        f"(expert {about['expert']['principal']}, until {about['expires']})",
        markup=False,
    )


def _trusted(trust: Path | None, home: Path | None) -> tuple[Any, ...]:
    """From ``--trust``: the list, or a single public key; without it the list of the home, if there is one."""
    from enclave.determination.trust import TrustedExpert, unpack_trust
    from enclave.keys.verify import read_public
    from enclave.registry.trust import read_trust

    if trust is None:
        place = home_from(home)
        experts = read_trust(place).experts
        if any(one.demo for one in experts):
            from enclave.registry.settings import RegistrySettings

            demo = place.settings(RegistrySettings, section="registry").allow_demo_keys
            experts = tuple(one for one in experts if demo or not one.demo)
        return experts
    data = _read(trust)
    if not data.lstrip().startswith(b"{"):
        return (TrustedExpert(principal="", public_key=read_public(trust)),)
    return unpack_trust(data, issuer=None).experts


def _revoked(revoked: Path | None, home: Path | None) -> frozenset[str]:
    """From ``--revoked``; without it the list of the home, if there is one."""
    from enclave.determination.trust import parse_revoked
    from enclave.registry.trust import revocation_file

    if revoked is not None:
        return parse_revoked(_read(revoked))
    try:
        return parse_revoked(_read(revocation_file(home_from(home))))
    except NotFoundError:
        return frozenset()


def _sealed_root(home: Path | None, name: VersionName) -> str:
    from enclave.sealed.store import SealedStore

    return SealedStore(home_of(home).state("sealed")).info(name).content_root


def _registered(home: Path | None, name: VersionName) -> registry.Version | None:
    """The version as the registry has it, when somebody is signed in."""
    at: Home = home_of(home)
    found = ask_registry(at, registry.ListVersions(token=read_token(at), dataset=name.dataset)).versions
    return next((one for one in found if one.version == name.version), None)


def _steward_of(version: registry.Version | None) -> str:
    if version is None or not version.steward:
        raise NotFoundError("draft: wanted the data steward of the version, got none; give --steward")
    return version.steward


def _results_of(version: registry.Version | None, found: dict[str, Any]) -> dict[str, Any]:
    """An assessment alone is how it is after all that was done; before comes from intake, or from the file itself."""
    if {"before", "after"} & set(found):
        return found
    summary = version.summary if version is not None and isinstance(version.summary, dict) else {}
    known = summary.get("results")
    before = {"before": known["before"]} if isinstance(known, dict) and "before" in known else {}
    return {**before, "after": found}


def _tell_gaps(certificate: Any) -> None:
    """What no release could rest on yet; the registry takes complete ones only."""
    from enclave.determination.completeness import missing

    gaps = missing(certificate)
    if gaps:
        words().print(f"Not stated yet, and the enclave takes none without: {', '.join(gaps)}.", markup=False)


def _evidence_of(version: registry.Version | None) -> dict[str, Any]:
    """What intake measured: the sections of its summary that a certificate has too."""
    sections = ("counts", "deidentification", "quality", "methods", "column_roles")
    summary = version.summary if version is not None and isinstance(version.summary, dict) else {}
    return {name: summary[name] for name in sections if isinstance(summary.get(name), dict)}


def _parse_json_object(data: bytes, *, name: str) -> dict[str, Any]:
    from enclave.core.canonical import parse_json

    try:
        found = parse_json(data)
    except InvalidError:
        found = None
    if not isinstance(found, dict):
        raise InvalidError(f"{name}: wanted the JSON object that `enclave risk` writes, got something else")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a file, got none") from None
    except OSError as error:
        raise UnavailableError(f"{path.name}: wanted to read it, got {error.strerror}") from None


def _write_new(path: Path, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise ConflictError(f"{path.name}: wanted a new file, got one that exists; choose another --output") from None
    except OSError as error:
        raise UnavailableError(f"{path.name}: wanted a file to write, got {error.strerror}") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)
