"""The log's side of C2SP tlog-witness: one witness as a place for copies, over HTTPS, a Unix socket or loopback."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from enclave.audit.checkpoint import parse_checkpoint
from enclave.audit.copies import WitnessSettings
from enclave.audit.cosignature import AddCheckpoint, cosigned_at, with_signatures, write_request
from enclave.audit.courier import SplitViewError
from enclave.audit.kept_checkpoints import COSIGNED
from enclave.audit.merkle import consistency_proof
from enclave.audit.tiles import TileTree, write_file
from enclave.core.errors import IntegrityError, UnavailableError
from enclave.keys.verify import verify_ed25519

MAX_ANSWER_BYTES = 16 << 10


class WitnessPlace:
    """Sends each checkpoint with its proof and keeps what comes back in ``log/cosigned/NAME.checkpoint``."""

    kind = "witness"

    def __init__(self, folder: Path, *, settings: WitnessSettings, timeout_s: float) -> None:
        self.name, self.off_host = settings.name, settings.off_host
        self._log, self._key = folder, settings.key
        self._file = folder / COSIGNED / f"{settings.name}.checkpoint"
        parts = urlsplit(settings.url)
        on_socket = parts.scheme == "unix"
        self._url = ("http://witness" if on_socket else settings.url.rstrip("/")) + "/add-checkpoint"
        trust = ssl.create_default_context(cafile=settings.ca_file or None)
        transport = httpx.HTTPTransport(uds=parts.path) if on_socket else httpx.HTTPTransport(verify=trust)
        # Nothing of the environment decides where the ledger's copies go: no proxies, no redirects.
        self._http = httpx.Client(transport=transport, timeout=timeout_s, trust_env=False, follow_redirects=False)

    def last(self) -> str:
        """What it cosigned last, as far as it is on our disk and of its key."""
        with contextlib.suppress(OSError, UnicodeDecodeError, IntegrityError):
            text = self._file.read_text("utf-8")
            parse_checkpoint(text)
            if cosigned_at(text, key=self._key, verify=verify_ed25519):
                return text
        return ""

    def send(self, checkpoint: str) -> str:
        """Asks for a cosignature; see ``courier.Place``.

        The witness says itself which size it holds when it is not the one that we remember.
        """
        size = parse_checkpoint(checkpoint).size
        last = self.last()
        old = parse_checkpoint(last).size if last else 0
        status, answer = self._post(checkpoint, old=min(old, size), size=size)
        if status == 409:
            held = int(answer) if answer.strip().isdecimal() else -1
            if held < 0 or held > size:
                raise SplitViewError(held)  # it has seen more of this log than we have: ours was rolled back
            status, answer = self._post(checkpoint, old=held, size=size)
            old = held
        if status == 422:
            raise SplitViewError(old)
        if status != 200:
            raise UnavailableError("witness: wanted a cosignature, got a refusal", code=f"witness_status_{status}")
        return self._keep(checkpoint, answer)

    def _post(self, checkpoint: str, *, old: int, size: int) -> tuple[int, str]:
        tree = TileTree(self._log, size=size)
        proof = consistency_proof(old, size, tree.range_root) if 0 < old < size else []
        body = write_request(AddCheckpoint(old, tuple(proof), checkpoint))
        try:
            with self._http.stream("POST", self._url, content=body) as response:
                data = b""
                for part in response.iter_bytes():
                    data += part
                    if len(data) > MAX_ANSWER_BYTES:
                        raise IntegrityError("witness: wanted a short answer, got a long one", code="witness_answer")
                return response.status_code, data.decode("utf-8", "replace")
        except httpx.HTTPError:
            raise UnavailableError("witness: wanted an answer, got none", code="witness_unreachable") from None

    def _keep(self, checkpoint: str, answer: str) -> str:
        lines = [line + "\n" for line in answer.split("\n") if line.startswith(f"— {self._key.name} ")]
        text = with_signatures(checkpoint, lines[:1])
        if cosigned_at(text, key=self._key, verify=verify_ed25519) is None:
            raise IntegrityError("witness: wanted a cosignature of its key, got another", code="witness_signature")
        write_file(self._file, text.encode(), durable=True)
        return text
