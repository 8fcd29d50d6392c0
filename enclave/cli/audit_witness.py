"""``enclave audit witness``: the ledger remembered by another user or machine; ``audit copies``: how that stands."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import ssl
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.audit_log import call
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import InvalidError, NotFoundError, UnavailableError
from enclave.wire.messages import audit as ask

app = typer.Typer(no_args_is_help=True, help="Remember a ledger's checkpoints for somebody else (C2SP tlog-witness).")

KeyOption = Annotated[Path, typer.Option("--key", metavar="KEY", help="The witness's own signing key, a .key file.")]
NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="The witness's name, like witness.example/w1.")]


@app.command()
def key(name: NameOption, key_file: KeyOption) -> None:
    """Make the witness's key, unless it is there, and print the verifier key for the ledger's settings."""
    from enclave.keys.files import new_ed25519
    from enclave.keys.sign import open_signer
    from enclave.keys.uri import file_uri

    if not key_file.exists():
        new_ed25519(key_file)
    print(_cosigner(name, open_signer(file_uri(key_file)).public_key))  # noqa: T201 - the result itself


@app.command()
def serve(
    store: Annotated[
        Path, typer.Option("--store", metavar="DIR", help="What the witness remembers; its user's alone.")
    ],
    name: NameOption,
    key_file: KeyOption,
    logs: Annotated[
        list[Path], typer.Option("--log-vkey", metavar="FILE", help="A log's verifier key (`enclave audit vkey`).")
    ],
    socket: Annotated[Path | None, typer.Option("--socket", metavar="PATH", help="Listen on this Unix socket.")] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="ADDRESS:PORT", help="Listen here; beyond loopback only with TLS.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")] = None,
) -> None:
    """Run a witness: it cosigns what continues the ledger it has seen, and refuses anything else."""
    if (socket is None) == (listen is None):
        raise InvalidError("witness: wanted --socket or --listen, got none or both")
    tls = _tls(tls_cert, tls_key)
    place = _address(listen, tls=tls is not None) if listen is not None else None
    witness = _opened(store, name=name, key_file=key_file, logs=logs)
    try:
        asyncio.run(_serve(witness, socket=socket, place=place, tls=tls))
    finally:
        witness.close()


def _opened(store: Path, *, name: str, key_file: Path, logs: list[Path]) -> Any:
    from enclave.audit.verify import read_vkey
    from enclave.audit.witness import Witness
    from enclave.keys.sign import open_signer
    from enclave.keys.uri import file_uri
    from enclave.keys.verify import verify_ed25519
    from enclave.runtime.clock import SystemClock

    signer = open_signer(file_uri(key_file))
    return Witness(
        store,
        key=_cosigner(name, signer.public_key),
        sign=signer.sign,
        verify=verify_ed25519,
        logs=[read_vkey(path) for path in logs],
        clock=SystemClock(),
    )


def copies(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show where checkpoints are copied to and whether an off-host witness holds the newest ones."""
    from enclave.audit.copies import CopySettings, off_host
    from enclave.runtime.clock import SystemClock

    at = home_of(home)
    found = call(at, ask.ShowCopies()).copies
    verdict = off_host(found, settings=at.settings(CopySettings, section="copies"), at=SystemClock().now())
    if json_path is not None:
        told = [dataclasses.asdict(copy) for copy in found]
        write_json({"off_host": verdict.ok, "words": verdict.words, "copies": told}, json_path)
    for copy in found:
        reason = f" ({copy.reason})" if copy.reason else ""
        words().print(f"{copy.kind} {copy.name}: {copy.state}{reason}, size {copy.size} {copy.time}", markup=False)
    words().print(
        f"[{'green' if verdict.ok else 'bold red'}]{'ok' if verdict.ok else 'not covered'}[/]: {verdict.words}"
    )


def _cosigner(name: str, public_key: bytes) -> Any:
    from enclave.audit.checkpoint import COSIGNER, VerifierKey

    made = VerifierKey(name, public_key, COSIGNER)
    return VerifierKey.parse(str(made), algorithm=COSIGNER)  # refuses a name that no note can hold


def _tls(cert: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    if cert is None and key_file is None:
        return None
    if cert is None or key_file is None:
        raise InvalidError("witness: wanted --tls-cert and --tls-key together, got one of them")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key_file)
    except (OSError, ssl.SSLError):
        raise NotFoundError("witness: wanted a certificate and its key in PEM, got none that fit") from None
    return context


def _address(text: str, *, tls: bool) -> tuple[str, int]:
    from enclave.audit.copies import is_loopback

    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal():
        raise InvalidError("witness: wanted ADDRESS:PORT, got another form")
    if not tls and not is_loopback(host):
        raise InvalidError("witness: wanted TLS beyond loopback, got none; give --tls-cert and --tls-key")
    return host, int(port)


async def _serve(
    witness: Any, *, socket: Path | None, place: tuple[str, int] | None, tls: ssl.SSLContext | None
) -> None:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets, bind_unix_socket

    from enclave.audit.cosignature import MAX_REQUEST_BYTES
    from enclave.runtime.daemon import notify
    from enclave.runtime.log import Log

    log = Log("witness")
    server = HTTPServer(
        _application(witness), ssl_options=tls, max_body_size=MAX_REQUEST_BYTES, max_header_size=8 << 10
    )
    try:
        if socket is not None:
            server.add_socket(bind_unix_socket(str(socket), mode=0o666))  # whoever asks must bring the log's signature
        elif place is not None:
            server.add_sockets(bind_sockets(place[1], address=place[0]))
    except (OSError, ValueError):
        raise UnavailableError("witness: wanted a free place to listen, got one in use or none") from None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notify("READY=1")
    log.info("ready", pid=os.getpid())
    await stop.wait()
    server.stop()
    await server.close_all_connections()
    log.info("stopped")


def _application(witness: Any) -> Any:
    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):  # type: ignore[misc]  # tornado has no types
        """The two calls of tlog-witness; the loop does one at a time, for each is a few hashes and one fsync."""

        def post(self) -> None:
            """``add-checkpoint``."""
            self._say(witness.add_checkpoint(self.request.body))

        def get(self, origin_hash: str = "") -> None:
            """The newest checkpoint of one log."""
            self._say(witness.checkpoint(origin_hash))

        def _say(self, answer: Any) -> None:
            self.set_status(answer.status)
            self.set_header("Content-Type", answer.content_type)
            self.set_header("Server", "enclave")
            self.finish(answer.body)

    def quiet(_handler: Any) -> None:
        """No line per request: the store says what was seen."""

    return Application([(r"/add-checkpoint", Handler), (r"/([0-9a-f]{64})/checkpoint", Handler)], log_function=quiet)


COMMANDS = (copies,)
