"""The witness against C2SP tlog-witness, and the ledger's copies elsewhere with real processes and sockets."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optional import need
from ports import free_ports

from enclave.audit.checkpoint import COSIGNER, TreeHead, VerifierKey, note_body, signatures_by, write_checkpoint
from enclave.audit.copies import CopySettings, WitnessSettings, off_host
from enclave.audit.cosignature import AddCheckpoint, cosign, cosigned_at, parse_request, write_request
from enclave.audit.merkle import consistency_proof, leaf_hash
from enclave.audit.tiles import root_of
from enclave.audit.verify import verify_log
from enclave.audit.witness import Witness
from enclave.cli.doctor_checks import CHECKS, run_checks
from enclave.core.errors import ConflictError, InvalidError
from enclave.keys.verify import verify_ed25519
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Copy, ShowCopies, State

LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG_KEY = VerifierKey("enclave.local/0123456789abcdef", LOG.public_key().public_bytes_raw())
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
EYE = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
EYE_KEY = VerifierKey("witness.example/w1", EYE.public_key().public_bytes_raw(), COSIGNER)
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEAVES = [leaf_hash(b"record %d" % number) for number in range(300)]
FORK = [*LEAVES[:3], leaf_hash(b"another"), *LEAVES[4:]]


class At:
    """A clock that stands."""

    def __init__(self):
        self.at = AT

    def now(self):
        return self.at


@pytest.fixture
def witness(tmp_path):
    found = Witness(tmp_path / "store", key=EYE_KEY, sign=EYE.sign, verify=verify_ed25519, logs=[LOG_KEY], clock=At())
    yield found
    found.close()


def note(size, *, leaves=LEAVES, key=LOG_KEY, by=LOG):
    return write_checkpoint(TreeHead(key.name, size, root_of(leaves[:size])), key=key, sign=by.sign)


def ask(witness, old, size, *, leaves=LEAVES, proof=None, text=None):
    if proof is None:
        proof = consistency_proof(old, size, lambda a, b: root_of(leaves[a:b])) if 0 < old <= size else []
    return witness.add_checkpoint(write_request(AddCheckpoint(old, tuple(proof), text or note(size, leaves=leaves))))


# --- the protocol ---


@pytest.mark.row("S10.3")
def test_what_continues_the_log_is_cosigned_with_the_time(witness):
    for old, size in ((0, 5), (5, 5), (5, 17), (17, 300)):
        answer = ask(witness, old, size)
        assert answer.status == 200
        assert cosigned_at(note(size) + answer.body, key=EYE_KEY, verify=verify_ed25519) == int(AT.timestamp())
        assert cosigned_at(note(4) + answer.body, key=EYE_KEY, verify=verify_ed25519) is None


@pytest.mark.row("S10.3")
def test_another_history_is_not_cosigned_and_kept_as_evidence(witness, tmp_path):
    ask(witness, 0, 5)
    for old, size in ((5, 5), (5, 9), (5, 300)):
        assert ask(witness, old, size, leaves=FORK).status == 422
    assert ask(witness, 5, 9).status == 200
    evidence = next(tmp_path.glob("store/*/conflicts")).iterdir()
    assert {note_body(path.read_text()) for path in evidence} == {note_body(note(n, leaves=FORK)) for n in (5, 9, 300)}


def test_a_smaller_log_than_the_one_seen_is_told_the_size(witness):
    ask(witness, 0, 20)
    for old, size in ((0, 300), (5, 9), (19, 20)):
        answer = ask(witness, old, size)
        assert (answer.status, answer.body, answer.content_type) == (409, "20\n", "text/x.tlog.size")


def test_unknown_logs_other_keys_and_other_forms_are_refused(witness):
    unknown = VerifierKey("enclave.local/other", LOG_KEY.public_key)
    assert ask(witness, 0, 5, text=note(5, key=unknown)).status == 404
    assert ask(witness, 0, 5, text=note(5, by=OTHER)).status == 403
    assert ask(witness, 0, 5, text=note(5) + note(5, by=OTHER).partition("\n\n")[2]).status == 403
    assert ask(witness, 6, 5).status == 400
    assert ask(witness, 0, 5, proof=[bytes(32)]).status == 422
    assert (
        ask(
            witness, 0, 0, text=write_checkpoint(TreeHead(LOG_KEY.name, 0, bytes(32)), key=LOG_KEY, sign=LOG.sign)
        ).status
        == 422
    )
    assert witness.add_checkpoint(b"").status == 400
    assert witness.checkpoint("0" * 64).status == 404


def test_what_a_witness_saw_survives_its_restart_and_nobody_opens_its_store_twice(witness, tmp_path):
    ask(witness, 0, 20)
    again = {"key": EYE_KEY, "sign": EYE.sign, "verify": verify_ed25519, "logs": [LOG_KEY], "clock": At()}
    with pytest.raises(ConflictError):
        Witness(tmp_path / "store", **again)
    witness.close()
    witness._lock_fd = os.dup(0)
    restarted = Witness(tmp_path / "store", **again)
    assert ask(restarted, 0, 21).status == 409
    assert ask(restarted, 20, 21).status == 200
    restarted.close()


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=12))
def test_whatever_is_asked_all_that_was_ever_cosigned_is_one_history(tmp_path, steps):
    shutil.rmtree(tmp_path / "many", ignore_errors=True)
    witness = Witness(tmp_path / "many", key=EYE_KEY, sign=EYE.sign, verify=verify_ed25519, logs=[LOG_KEY], clock=At())
    seen = []
    for old, size, forked in steps:
        leaves = FORK if forked else LEAVES
        if ask(witness, old, size, leaves=leaves).status == 200:
            seen.append((size, root_of(leaves[:size])))
    witness.close()
    assert seen == sorted(seen, key=lambda found: found[0])
    histories = [all(root_of(leaves[:size]) == root for size, root in seen) for leaves in (LEAVES, FORK)]
    assert any(histories)


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode()))
def test_any_bytes_are_a_request_or_an_error_of_ours(data):
    try:
        request = parse_request(data)
    except InvalidError as error:
        assert "wanted" in str(error)
    else:
        assert parse_request(write_request(request)) == request


@given(st.integers(0, 2**62), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_every_request_reads_back(old, proof):
    request = AddCheckpoint(old, tuple(proof), note(5))
    assert parse_request(write_request(request)) == request


def test_a_cosignature_is_the_example_of_the_specification():
    """The layout of C2SP tlog-cosignature: key id, eight bytes of time, 64 of signature; a key of type four."""
    text = note(5)
    line = cosign(text, key=EYE_KEY, sign=EYE.sign, time_s=1679315147)
    raw = base64.b64decode(line.split()[2])
    assert raw[:4] == EYE_KEY.key_id
    assert int.from_bytes(raw[4:12], "big") == 1679315147
    EYE.public_key().verify(raw[12:], b"cosignature/v1\ntime 1679315147\n" + note_body(text).encode())
    assert signatures_by(text + line, key=EYE_KEY) == [raw[4:]]
    # The verifier key of the cosigner that the specification's example names is of the same form.
    assert VerifierKey.parse(str(EYE_KEY), algorithm=COSIGNER) == EYE_KEY
    with pytest.raises(InvalidError):
        VerifierKey.parse(str(EYE_KEY))


# --- whether somebody off this machine has seen the ledger ---


def settings_with(**options):
    place = {"name": "away", "url": "https://witness.example", "vkey": str(EYE_KEY), "off_host": True}
    return CopySettings(witnesses=(WitnessSettings(**(place | options)),))


def copy(at, *, state="ok", by=EYE):
    text = note(5)
    return Copy(
        name="away",
        kind="witness",
        state=state,
        off_host=True,
        checkpoint=text + cosign(text, key=EYE_KEY, sign=by.sign, time_s=int(at.timestamp())),
    )


@pytest.mark.row("S10.3")
def test_green_is_only_a_cosignature_of_an_off_host_witness_within_the_hour():
    def green(copies, **options):
        return off_host(copies, settings=settings_with(**options), at=AT).ok

    assert green([copy(AT - timedelta(minutes=59))])
    assert not green([copy(AT - timedelta(minutes=61))])
    assert not green([copy(AT + timedelta(minutes=6))])
    assert not green([copy(AT, by=OTHER)])
    assert not green([copy(AT)], off_host=False)
    assert not green([copy(AT, state="conflict")])
    assert not green([])
    assert not off_host([copy(AT)], settings=CopySettings(), at=AT).ok


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://witness.example"},
        {"url": "ftp://witness.example"},
        {"url": "unix:/run/w.sock"},
        {"name": "Not A Name"},
        {"vkey": str(LOG_KEY)},
    ],
)
def test_settings_that_promise_what_they_cannot_keep_are_refused(options):
    with pytest.raises(InvalidError):
        settings_with(**options)
    with pytest.raises(InvalidError):
        CopySettings(late_s=7200)


# --- with real processes ---


class Served:
    """A witness process for one ledger."""

    def __init__(self, auditd, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o755)
        (folder / "vkey").write_text((auditd.home.state("audit") / "log" / "vkey").read_text())
        self.socket = folder / "w.sock"
        self.process = None
        made = self.run("key", "--name", "witness.example/w1", "--key", folder / "w.key")
        self.vkey = made.stdout.strip()

    def command(self, *words):
        return [sys.executable, "-m", "enclave.cli.main", "audit", "witness", *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=True)

    def start(self, *place):
        words = ["serve", "--store", self.folder / "store", "--name", "witness.example/w1"]
        words += ["--key", self.folder / "w.key", "--log-vkey", self.folder / "vkey"]
        words += place or ("--socket", self.socket)
        self.process = subprocess.Popen(self.command(*words), stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert "ready" in line, line
        return self

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process.stderr.close()
            self.process = None


@pytest.fixture
def served(auditd, tmp_path):
    found = []

    def make():
        found.append(Served(auditd, tmp_path / f"witness{len(found)}"))
        return found[-1]

    yield make
    for one in found:
        one.stop()


def use(auditd, *witnesses: str) -> None:
    """Starts the ledger again with these places."""
    auditd.stop()
    auditd.home.settings_file.write_text("[copies]\nretry_s = 0.05\ntimeout_s = 2.0\n" + "".join(witnesses))
    auditd.start()


def place(served, url, *, name="away", off_host=False, more="") -> str:
    flag = str(off_host).lower()
    head = f'[[copies.witnesses]]\nname = "{name}"\nurl = "{url}"\nvkey = "{served.vkey}"\noff_host = {flag}\n'
    return head + more


def status(auditd):
    client = WireClient(auditd.home.socket("auditd"))
    try:
        return {copy.name: copy for copy in client.call(ShowCopies()).copies}
    finally:
        client.close()


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.05)
    return found


def write(auditd, count=1):
    for number in range(count):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})


def signed_size(auditd):
    client = WireClient(auditd.home.socket("auditd"))
    try:
        return client.call(State()).size
    finally:
        client.close()


@pytest.mark.row("S10.3")
def test_a_witness_on_a_socket_cosigns_each_new_checkpoint_and_goes_on_after_its_restart(auditd, served):
    eye = served().start()
    use(auditd, place(eye, f"unix:{eye.socket}"))
    write(auditd, 300)
    size = signed_size(auditd)
    until(lambda: status(auditd)["away"].size >= size)
    eye.stop()
    write(auditd, 10)
    size = signed_size(auditd)
    until(lambda: status(auditd)["away"].state == "failing")
    eye.start()
    until(lambda: status(auditd)["away"].size >= size)
    assert status(auditd)["away"].state == "ok"
    text = (auditd.home.state("audit") / "log" / "cosigned" / "away.checkpoint").read_text()
    key = VerifierKey.parse(eye.vkey, algorithm=COSIGNER)
    assert abs(cosigned_at(text, key=key, verify=verify_ed25519) - time.time()) < 30
    assert auditd.events(kind="audit.copy")[0]["outcome"] == "ok"


@pytest.mark.row("S10.3")
def test_a_ledger_that_was_rolled_back_or_rewritten_meets_a_witness_that_remembers(auditd, served, tmp_path):
    eye = served().start()
    url = f"unix:{eye.socket}"
    write(auditd, 5)
    auditd.stop()
    audit = auditd.home.state("audit")
    shutil.copytree(audit, tmp_path / "older")
    auditd.start()
    use(auditd, place(eye, url))
    write(auditd, 30)
    size = signed_size(auditd)
    until(lambda: status(auditd)["away"].size >= size)
    auditd.stop()
    shutil.rmtree(audit)
    shutil.copytree(tmp_path / "older", audit)
    auditd.start()  # the same key, an older state: everything fits but the witness's memory
    until(lambda: status(auditd)["away"].state == "conflict")
    write(auditd, 60)  # grown past what was seen, with other records
    assert signed_size(auditd) > size
    time.sleep(0.3)
    assert status(auditd)["away"].state == "conflict"
    (event,) = auditd.events(kind="audit.split_view")
    assert (event["outcome"], event["reason"], event["detail"]["place"]) == ("failed", "split_view", "away")
    held = next((eye.folder / "store").glob("*/checkpoint")).read_text()
    auditd.stop()
    assert {f.kind for f in verify_log(audit).damage} == set()
    assert {f.kind for f in verify_log(audit, against=[held]).damage} == {"split_view"}


def test_signing_and_receipts_wait_for_no_witness(auditd, served, tmp_path):
    """One that takes connections and never answers, and one that is not there."""
    deaf = socket.socket(socket.AF_UNIX)
    deaf.bind(str(tmp_path / "deaf.sock"))
    deaf.listen(8)
    eye, other = served(), served()
    use(
        auditd,
        place(eye, f"unix:{tmp_path / 'deaf.sock'}", name="deaf"),
        place(other, f"unix:{tmp_path / 'none.sock'}", name="absent"),
    )
    began = time.monotonic()
    write(auditd, 200)
    size = signed_size(auditd)
    assert size >= 200
    assert time.monotonic() - began < 2.0 * 5
    until(lambda: status(auditd)["absent"].state == "failing")
    until(lambda: auditd.events(kind="audit.copy", outcome="failed"))
    assert len(auditd.events(kind="audit.copy")) <= 2  # told once each, however often it is tried
    deaf.close()


def test_an_off_host_witness_turns_doctor_green_and_its_absence_red(auditd, served):
    eye = served()
    port = free_ports()
    eye.start("--listen", f"127.0.0.1:{port}")

    def doctor():
        return next(result for result in run_checks(auditd.home) if result["id"] == "off-host-witness")

    assert not doctor()["ok"]
    use(auditd, place(eye, f"http://127.0.0.1:{port}"))
    write(auditd, 3)
    until(lambda: status(auditd)["away"].state == "ok")
    assert not doctor()["ok"]  # it is on this machine: nobody said otherwise
    use(auditd, place(eye, f"http://127.0.0.1:{port}", off_host=True))
    until(lambda: doctor()["ok"])
    auditd.stop()
    assert not doctor()["ok"]
    assert next(check for check in CHECKS if check.id == "off-host-witness").level == "guarantee"


def test_a_witness_speaks_tls_and_none_is_trusted_but_by_its_authority(auditd, served, tmp_path):
    cert, key = own_certificate(tmp_path)
    eye = served()
    port = free_ports()
    eye.start("--listen", f"127.0.0.1:{port}", "--tls-cert", cert, "--tls-key", key)
    url = f"https://localhost:{port}"
    use(auditd, place(eye, url))
    until(lambda: status(auditd)["away"].reason == "witness_unreachable")
    assert status(auditd)["away"].state != "ok"
    use(auditd, place(eye, url, more=f'ca_file = "{cert}"\n'))
    until(lambda: status(auditd)["away"].state == "ok")
    assert status(auditd)["away"].reason != "witness_unreachable"


def own_certificate(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(private.private_bytes(*pem))
    return folder / "cert.pem", folder / "key.pem"


def test_a_witness_listens_beyond_loopback_with_tls_only(auditd, served):
    eye = served()
    words = ["serve", "--store", eye.folder / "s", "--name", "witness.example/w1", "--key", eye.folder / "w.key"]
    words += ["--log-vkey", eye.folder / "vkey", "--listen", "0.0.0.0:9"]
    done = subprocess.run(eye.command(*words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 12
    assert "TLS" in done.stderr


def test_another_user_can_add_to_a_witness_and_not_alter_what_it_holds(auditd, served, tmp_path):
    need("root")
    eye = served().start()
    use(auditd, place(eye, f"unix:{eye.socket}"))
    write(auditd, 3)
    until(lambda: status(auditd)["away"].state == "ok")
    held = next((eye.folder / "store").glob("*/checkpoint"))
    text = (auditd.home.state("audit") / "log" / "checkpoint").read_text()
    body = write_request(AddCheckpoint(int(text.split("\n")[1]), (), text))
    for parent in (tmp_path, *tmp_path.parents):  # late, since another test run that begins takes this away again
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    assert as_nobody(lambda: held.write_text("")) == b"PermissionError"
    assert as_nobody(held.unlink) == b"PermissionError"
    assert as_nobody(lambda: knock(eye.socket, body)) == b"HTTP/1.1 200 OK"


def as_nobody(act):
    """What comes of ``act`` when another user does it, in a process of its own."""
    read, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        word = b"nothing"
        try:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)
            word = act() or b"done"
        except OSError as error:
            word = type(error).__name__.encode()
        finally:
            os.write(write_end, word)
            os._exit(0)
    os.waitpid(child, 0)
    word = os.read(read, 100)
    os.close(read)
    os.close(write_end)
    return word


def knock(path, body):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return sock.recv(4096).partition(b"\r\n")[0]


def test_checkpoints_reach_syslog_in_a_form_that_verify_takes(auditd, tmp_path):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(20)
    port = receiver.getsockname()[1]
    use(auditd, f'[[copies.syslog]]\nname = "loghost"\naddress = "udp://127.0.0.1:{port}"\n')
    write(auditd, 3)
    line = receiver.recv(65_536).decode()
    assert line.startswith("<109>1 20")
    text = base64.b64decode(line.partition('note="')[2].partition('"')[0]).decode()
    auditd.stop()
    assert verify_log(auditd.home.state("audit"), against=[text]).ok
    receiver.close()


def test_a_tcp_receiver_that_comes_back_gets_the_newest_checkpoint(auditd):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    port = listener.getsockname()[1]
    use(auditd, f'[[copies.syslog]]\nname = "loghost"\naddress = "tcp://127.0.0.1:{port}"\n')
    first, _ = listener.accept()
    count, _, rest = first.recv(65_536).partition(b" ")
    assert int(count) <= len(rest)
    first.close()
    sizes = []

    def collect():
        again, _ = listener.accept()
        sizes.append(again.recv(65_536))
        again.close()

    waiting = threading.Thread(target=collect)
    waiting.start()
    for _ in range(40):
        write(auditd, 2)
        signed_size(auditd)
        waiting.join(timeout=0.2)
        if sizes:
            break
    assert b"checkpoint@" in sizes[0]
    listener.close()


def test_objects_are_written_once_each_and_a_missing_package_stops_the_start(auditd, tmp_path, monkeypatch):
    from enclave.audit.copies import ObjectSettings
    from enclave.audit.copy_objects import ObjectPlace

    need("dask")  # brings fsspec
    store = ObjectPlace(ObjectSettings("bucket", f"file://{tmp_path}/bucket"))
    store.send(note(5))
    store.send(note(5))
    store.send(note(9))
    names = sorted(path.name for path in (tmp_path / "bucket").iterdir())
    assert [name.partition("-")[0] for name in names] == ["000000000005", "000000000009"]
    assert (tmp_path / "bucket" / names[0]).read_text() == note(5)


def test_the_command_tells_how_the_copies_stand(auditd, served):
    eye = served().start()
    use(auditd, place(eye, f"unix:{eye.socket}"))
    write(auditd)
    until(lambda: status(auditd)["away"].state == "ok")
    command = [sys.executable, "-m", "enclave.cli.main", "audit", "copies", "--json", "-", "--home"]
    done = subprocess.run([*command, str(auditd.home.root)], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["off_host"] is False
    assert [(c["name"], c["state"]) for c in told["copies"]] == [("away", "ok")]
