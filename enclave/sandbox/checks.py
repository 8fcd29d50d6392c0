"""Check programs: our own parsers on hostile bytes, in a sandbox that holds nothing but the bytes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import InvalidError
from enclave.sandbox.bubblewrap import INNER, SandboxSpec
from enclave.sandbox.sandboxed import Sandbox, Streams, start
from enclave.sandbox.workshop import Workshop
from enclave.wire.messages.launcher import CheckReply, RunCheck

MODULES = frozenset({"enclave.disclosure.parse"})
MAX_RESULT_BYTES = 900_000  # with its envelope it must fit one frame
MAX_TIMEOUT_S = 300.0
_MEMORY_MB = 2048


@dataclass(frozen=True, slots=True)
class Checks:
    """Runs them; each gets a uid of its own."""

    shop: Workshop

    def run(self, message: RunCheck, descriptors: list[int]) -> CheckReply:
        """The program's exit code and its JSON; a program that is too slow or too loud counts as failed."""
        try:
            self._check(message, descriptors)
            detail: dict[str, Any] = {"module": message.module, "files": len(descriptors)}
            self.shop.audit.record("check.run", actor="service:launcher", outcome="intent", detail=detail)
            started = time.monotonic()
            reply = self._run(message, descriptors)
            detail |= {"exit_code": reply.exit_code, "duration_ms": round((time.monotonic() - started) * 1000)}
            self.shop.audit.record("check.run", actor="service:launcher", detail=detail)
            return reply
        finally:
            while descriptors:
                os.close(descriptors.pop())

    def _check(self, message: RunCheck, descriptors: Sequence[int]) -> None:
        if message.module not in MODULES:
            raise InvalidError("check: wanted a module on the launcher's list, got another")
        if len(message.names) != len(descriptors):
            raise InvalidError(f"check: wanted {len(message.names)} descriptors, got {len(descriptors)}")
        if not 0 < message.timeout_s <= MAX_TIMEOUT_S:
            raise InvalidError(f"check: wanted a timeout of at most {MAX_TIMEOUT_S:g} s, got another")

    def _run(self, message: RunCheck, descriptors: Sequence[int]) -> CheckReply:
        for fd in descriptors:
            os.lseek(fd, 0, os.SEEK_SET)
        spec = SandboxSpec(
            program=("-m", message.module),
            limits=(f"DATA={_MEMORY_MB << 20}", "NPROC=64", f"FSIZE={1 << 28}"),
            environment={
                "HOME": "/tmp",  # noqa: S108 - in the sandbox
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "PYTHONPATH": f"{INNER}/src",
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "2",
            },
            env=self.shop.places.runtime.host_env,
            packages=("enclave", "enclave_kernel"),
            files=tuple((fd, f"/check/{place}") for place, fd in enumerate(descriptors)),
            cwd="/tmp",  # noqa: S108 - in the sandbox
        )
        group = self.shop.cgroups.make(f"check-{os.urandom(6).hex()}", memory_bytes=_MEMORY_MB << 20, processes=64)
        request = {"names": list(message.names), "request": message.request}
        try:
            streams = Streams(
                confine=group.add, stdin=subprocess.PIPE, stdout=subprocess.PIPE, descriptors=tuple(descriptors)
            )
            shop = self.shop
            sandbox = start(spec, shop.places.runtime, shop.uids.kernel(), births=shop.births, streams=streams)
            try:
                return _converse(sandbox, canonical_bytes(request), timeout_s=message.timeout_s)
            finally:
                sandbox.close()
        finally:
            group.remove()


def _converse(sandbox: Sandbox, request: bytes, *, timeout_s: float) -> CheckReply:
    process = sandbox.process
    late = threading.Timer(timeout_s, sandbox.kill)
    late.start()
    try:
        output = _talk(process, request)
        if len(output) > MAX_RESULT_BYTES:
            sandbox.kill()
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        code = -9
    finally:
        late.cancel()
    if code != 0 or len(output) > MAX_RESULT_BYTES:
        return CheckReply(exit_code=code or 1)
    try:
        return CheckReply(exit_code=0, result=parse_json(output))
    except InvalidError:
        return CheckReply(exit_code=1)


def _talk(process: subprocess.Popen[bytes], request: bytes) -> bytes:
    stdin: IO[bytes] | None = process.stdin
    stdout: IO[bytes] | None = process.stdout
    if stdin is None or stdout is None:
        return b""

    def ask() -> None:
        try:
            stdin.write(request)
            stdin.close()
        except OSError:
            return

    threading.Thread(target=ask, daemon=True).start()
    data = stdout.read(MAX_RESULT_BYTES + 1)
    stdout.close()
    return data
