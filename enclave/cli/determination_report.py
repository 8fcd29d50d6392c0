"""``enclave determination report`` and ``replay``: the certificate as people read it, and its numbers derived again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from enclave.cli.output import HomeOption, JsonOption, ReasonOption, home_of, words, write_file, write_json
from enclave.core.errors import NotFoundError, UnavailableError
from enclave.core.ids import VersionName

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
PDF_TIMEOUT_S: Final = 120
REPLAY_TIMEOUT_S: Final = 3600.0
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-pdf-header-footer"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def report(
    file: Annotated[Path, typer.Argument(metavar="C.json")],
    output: Path = typer.Option(..., help="The HTML page to write."),
    pdf: Path | None = typer.Option(None, help="Also write a PDF; needs Chromium."),
) -> None:
    """Write the determination as people read it: what was stated and measured, with plots and their numbers."""
    from enclave.determination.certificate import unpack
    from enclave.determination.report import report_html

    page = report_html(unpack(_read(file))).encode("utf-8")
    write_file(output, page)
    if pdf is not None:
        write_file(pdf, print_pdf(page))
    words().print(f"Wrote {output.name}{f' and {pdf.name}' if pdf else ''}.")


def print_pdf(page: bytes) -> bytes:
    """The page as Chromium prints it; raises ``UnavailableError`` where there is none. Nothing in it loads or runs."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UnavailableError("PDF: wanted Chromium, got none on this machine; install it, or print the page yourself")
    with tempfile.TemporaryDirectory(prefix="enclave-pdf-") as folder:
        place = Path(folder)
        (place / "report.html").write_bytes(page)
        command = (browser, *_FLAGS, f"--user-data-dir={place / 'profile'}", f"--print-to-pdf={place / 'report.pdf'}")
        try:
            subprocess.run(
                (*command, (place / "report.html").as_uri()), capture_output=True, timeout=PDF_TIMEOUT_S, check=True
            )
            return (place / "report.pdf").read_bytes()
        except (OSError, subprocess.SubprocessError):
            raise UnavailableError("PDF: wanted Chromium to print the page, got a failure; print it yourself") from None


def replay(
    file: Annotated[Path, typer.Argument(metavar="C.json")],
    dataset: str = typer.Option(..., help="NAME@V: the version that it is bound to."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Derive every number again from the bound version and compare; exit 15 when one differs. The broker reads it.

    What is said of the files that came in is compared with the account that was sealed with the version.
    """
    from enclave.determination.certificate import parse_certificate, unpack
    from enclave.determination.replay import SOURCES, not_derivable
    from enclave.wire.client import call_once
    from enclave.wire.messages.broker import ReplayDetermination

    name = VersionName.parse(dataset)
    text = unpack(_read(file)).text
    certificate = parse_certificate(text)
    message = ReplayDetermination(dataset=name.dataset, version=name.version, text=text.decode("utf-8"))
    found = call_once(home_of(home).socket("brokerd"), message, timeout_s=REPLAY_TIMEOUT_S).compared
    differing = [one for one in found if not one["ok"]]
    beyond = not_derivable(certificate, compared=frozenset(one["name"] for one in found))
    if json_path is not None:
        write_json({"ok": not differing, "numbers": len(found), "compared": found, "not_derivable": beyond}, json_path)
    for one in differing:
        words().print(f"{one['name']}: stated {one['stated']}, found {one['found']}", markup=False)
    derived, recounted, stated = (sum(one["by"] == source for one in found) for source in SOURCES)
    words().print(f"{derived} numbers derived again from {name}, {len(differing)} of all differ.", markup=False)
    if recounted or stated:
        words().print(
            f"{recounted} counted again from the files in the account of its intake, {stated} compared with what "
            "intake stated in it when it sealed; that intake counted right only the originals show.",
            markup=False,
        )
    words().print(f"Not in the version, so not compared: {', '.join(beyond) or 'nothing'}.", markup=False)
    if differing:
        raise typer.Exit(15)


def reaffirm(
    certificate: Annotated[str, typer.Argument(metavar="ID")],
    reason: ReasonOption,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Say after a trigger that the determination still stands (its expert); releases can rest on it again."""
    from enclave.cli.project import ask_registry
    from enclave.cli.session import read_token
    from enclave.wire.messages.determination import ReaffirmDetermination
    from enclave.wire.messages.schema import to_json

    at = home_of(home)
    found = ask_registry(at, ReaffirmDetermination(token=read_token(at), id=certificate, reason=reason))
    if json_path is not None:
        write_json(to_json(found), json_path)
    words().print(f"{certificate}: reaffirmed, recorded", markup=False)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{file.name}: wanted a file, got none") from None
