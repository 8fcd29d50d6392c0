"""Copies of checkpoints elsewhere: where they go, how each place stands, and whether somebody off this machine has seen
the ledger lately. What is asked here is checked by cosignatures, not by what the ledger's process says of itself."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from enclave.audit.checkpoint import COSIGNER, VerifierKey
from enclave.audit.cosignature import cosigned_at
from enclave.core.errors import InvalidError
from enclave.keys.verify import verify_ed25519
from enclave.wire.messages.audit import Copy

CopyState = Literal["waiting", "ok", "failing", "conflict"]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
AHEAD_S = 300  # how far a witness's clock may be ahead of ours


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """One witness: `url` is `unix:/PATH`, `https://…`, or `http://` on loopback (a tunnel's near end); `vkey` is the
    witness's verifier key; `off_host` says that it runs on another machine; `ca_file` holds its own authority."""

    name: str
    url: str
    vkey: str
    off_host: bool = False
    ca_file: str = ""

    def __post_init__(self) -> None:
        """Raises ``InvalidError``: a setting that promises what it cannot keep stops the ledger's start."""
        _check_name(self.name)
        _ = self.key
        parts = urlsplit(self.url)
        if parts.scheme not in ("unix", "https", "http"):
            raise InvalidError(f"witness {self.name}: wanted a url with unix:, https: or http:, got another")
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise InvalidError(f"witness {self.name}: wanted https beyond this machine, got http; give it TLS")
        if parts.scheme == "unix" and self.off_host:
            raise InvalidError(
                f"witness {self.name}: wanted off_host for a witness elsewhere, got a socket of this one"
            )

    @property
    def key(self) -> VerifierKey:
        """Its key; raises ``InvalidError``."""
        return VerifierKey.parse(self.vkey, algorithm=COSIGNER)


@dataclass(frozen=True, slots=True)
class SyslogSettings:
    """One syslog receiver: `address` is `unix:/dev/log`, `udp://HOST:514`, `tcp://…` or `tls://HOST:6514`.

    It gives no receipt, so it never counts as a witness."""

    name: str
    address: str
    ca_file: str = ""

    def __post_init__(self) -> None:
        """Raises ``InvalidError``."""
        _check_name(self.name)
        if urlsplit(self.address).scheme not in ("unix", "udp", "tcp", "tls"):
            raise InvalidError(f"syslog {self.name}: wanted an address with unix:, udp:, tcp: or tls:, got another")


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """One object store: `url` as fsspec knows it (`s3://bucket/prefix`); the bucket's own lock keeps what is there."""

    name: str
    url: str
    every_s: float = 60.0

    def __post_init__(self) -> None:
        """Raises ``InvalidError``."""
        _check_name(self.name)
        if "://" not in self.url:
            raise InvalidError(f"object store {self.name}: wanted a url such as s3://bucket/prefix, got another form")


@dataclass(frozen=True, slots=True)
class CopySettings:
    """`[copies]`: where each checkpoint is copied to at once. `[[copies.witnesses]]` has `name`, `url`, `vkey`,
    `off_host`, `ca_file`; `[[copies.syslog]]` has `name`, `address`, `ca_file`; `[[copies.objects]]` has `name`, `url`,
    `every_s`. Without an off-host witness that answered within `late_s`, doctor and the audit desk show red."""

    witnesses: tuple[WitnessSettings, ...] = ()
    syslog: tuple[SyslogSettings, ...] = ()
    objects: tuple[ObjectSettings, ...] = ()
    late_s: float = 3600.0
    refresh_s: float = 600.0
    timeout_s: float = 5.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        """Raises ``InvalidError``."""
        places: tuple[WitnessSettings | SyslogSettings | ObjectSettings, ...]
        places = (*self.witnesses, *self.syslog, *self.objects)
        names = [place.name for place in places]
        if len(set(names)) < len(names):
            raise InvalidError("copies: wanted a name of its own for each place, got one twice")
        if len({witness.vkey for witness in self.witnesses}) < len(self.witnesses):
            raise InvalidError("copies: wanted a key of its own for each witness, got one twice")
        if not 0 < self.late_s <= 3600 or not 0 < self.refresh_s <= self.late_s / 2:
            raise InvalidError(
                "copies: wanted late_s of at most an hour and refresh_s of at most half of it, got others"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OffHost:
    """Whether the ledger's promise holds against who owns this machine; ``words`` say why not."""

    ok: bool
    words: str


def off_host(copies: Sequence[Copy], *, settings: CopySettings, at: datetime) -> OffHost:
    """Green only when an off-host witness cosigned within ``late_s``, by its own key and its own clock."""
    conflict = next((copy.name for copy in copies if copy.state == "conflict"), None)
    if conflict is not None:
        return OffHost(ok=False, words=f"witness {conflict} holds another history of this ledger: a split view")
    wanted = [witness for witness in settings.witnesses if witness.off_host]
    if not wanted:
        return OffHost(ok=False, words="no off-host witness is set: who owns this machine can write the ledger anew")
    texts = {copy.name: copy.checkpoint for copy in copies}
    seen = [(cosigned_at(texts.get(w.name, ""), key=w.key, verify=verify_ed25519) or 0, w.name) for w in wanted]
    now_s = int(at.timestamp())
    time_s, name = max((found for found in seen if found[0] <= now_s + AHEAD_S), default=(0, ""))
    if not time_s:
        return OffHost(ok=False, words="no off-host witness has acknowledged yet")
    age_s = max(0, now_s - time_s)
    if age_s > settings.late_s:
        return OffHost(ok=False, words=f"the last off-host witness acknowledged {age_s // 60} minutes ago")
    return OffHost(ok=True, words=f"witness {name} acknowledged at {datetime.fromtimestamp(time_s, UTC):%H:%M:%S} UTC")


def is_loopback(host: str) -> bool:
    """Whether a name or address can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidError("copies: wanted names of lower case letters, digits and hyphens, got another form")
