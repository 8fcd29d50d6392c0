"""Package sets: only pinned wheels, installed without network, read-only, hashed, named, and told with each run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from enclave.cli import env
from enclave.core.errors import DeniedError, EnclaveError, IntegrityError, InvalidError, NotFoundError
from enclave.sandbox.bubblewrap import SandboxSpec, options
from enclave.sandbox.installation import find_installation
from enclave.sandbox.package_set import SetName, parse_description, parse_lock
from enclave.sandbox.runtime_mounts import Runtime
from enclave.sandbox.set_store import TREE, PackageSets, built_sets, find, set_folder, tree_digest, verify
from enclave.sandbox.settings import LauncherSettings

DIGEST = "ab" * 32
DESCRIPTION = 'name = "small"\nversion = {version}\ntitle = "Small"\nlock = "small.txt"\n'
GPU = DESCRIPTION + '[gpu]\ndevices = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dri/renderD128"]\n'
# What a notebook kernel needs; the rest of the installation's environment only makes the test slow.
TOO_LARGE = {"numpy", "pandas", "pyarrow", "matplotlib", "pillow", "fonttools", "debugpy", "pip", "setuptools",
             "contourpy", "kiwisolver", "pyparsing", "jedi", "parso", "enclave-kernel"}  # fmt: skip


# ── what may stand in a description and in a lock ───────────────────────────


def test_a_set_has_a_name_a_version_and_a_lock() -> None:
    found = parse_description(GPU.format(version=3))
    assert (str(found.name), found.lock, found.devices[0]) == ("small@3", "small.txt", "/dev/nvidia0")


@pytest.mark.parametrize(
    "text",
    [
        DESCRIPTION.format(version=0),
        DESCRIPTION.format(version=1).replace("small", "../up", 1),
        DESCRIPTION.format(version=1) + "surprise = 1\n",
        *(
            DESCRIPTION.format(version=1) + f'[gpu]\ndevices = ["{device}"]\n'
            for device in ("/dev/sda", "/dev/mem", "/dev/nvidia0/../sda", "/etc/shadow", "/dev/dri/card0", "nvidia0")
        ),
    ],
)
def test_nothing_else_is_a_description(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_description(text)


def test_the_lock_of_the_installation_is_one() -> None:
    checkout = find_installation().packages["enclave"].parent
    lock = parse_lock((checkout / "requirements" / "kernel.txt").read_text("utf-8"))
    assert {"ipykernel", "numpy", "pyarrow"} <= {name for name, _ in lock.hashes}
    assert all(lock.hashes.values())


@pytest.mark.parametrize(
    "line",
    [
        "six", "six>=1", "six==1.*", "six @ file:///six.whl", "-e .", "--index-url https://elsewhere", "-r other.txt",
        "--find-links .", "./six.whl", "six==1 --no-binary six", "git+https://elsewhere/six",
    ],
)  # fmt: skip
def test_a_lock_that_could_bring_anything_else_is_refused(line: str) -> None:
    good = f"six==1.17.0 \\\n    --hash=sha256:{DIGEST}\n"
    assert parse_lock(good).hashes == {("six", "1.17.0"): frozenset({DIGEST})}
    with pytest.raises(InvalidError):
        parse_lock(good + line + "\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "six==1.17.0\n", f"--hash=sha256:{DIGEST}\n", "six==1 \\\na==2\n"])
def test_a_pin_without_a_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_lock(text)


@given(st.text(max_size=60))
def test_a_lock_is_parsed_or_refused_whatever_stands_in_it(text: str) -> None:
    try:
        lock = parse_lock(text)
    except InvalidError:
        return
    assert all(lock.hashes.values())


@pytest.mark.parametrize(
    ("filename", "digest", "code"),
    [
        ("six-1.17.0-py2.py3-none-any.whl", DIGEST, ""),
        ("six-1.17.0-1-py2.py3-none-any.whl", DIGEST, ""),
        ("six-1.17.0-py2.py3-none-any.whl", "cd" * 32, "wrong_hash"),
        ("six-1.17.1-py2.py3-none-any.whl", DIGEST, "not_locked"),
        ("seven-1.17.0-py3-none-any.whl", DIGEST, "not_locked"),
        ("six-1.17.0.tar.gz", DIGEST, "not_a_wheel"),
        ("../six-1.17.0-py3-none-any.whl", DIGEST, "not_a_wheel"),
        ("setup.py", DIGEST, "not_a_wheel"),
    ],
)
def test_only_wheels_of_the_lock_with_its_hashes_are_taken(filename: str, digest: str, code: str) -> None:
    lock = parse_lock(f"six==1.17.0 \\\n    --hash=sha256:{DIGEST}\n")
    try:
        found = lock.check_wheel(filename, sha256=digest)
    except InvalidError as error:
        assert error.code == code
    else:
        assert (found, code) == (("six", "1.17.0"), "")


def test_a_kernel_sees_the_devices_of_its_set_and_no_others(stand_runtime: Runtime) -> None:
    def words(*devices: str) -> list[str]:
        spec = SandboxSpec(program=("x",), environment={}, env=stand_runtime.kernel_env, devices=devices)
        return options(spec, stand_runtime, seccomp_fd=3, info_fd=4, block_fd=5)

    assert "--dev-bind" not in words()
    bound = words("/dev/nvidia0")
    place = bound.index("--dev-bind")
    assert bound[place + 1 : place + 3] == ["/dev/nvidia0", "/dev/nvidia0"]
    assert place < bound.index("--remount-ro")


@pytest.fixture
def stand_runtime(tmp_path: Path) -> Runtime:
    """A runtime of which only paths are looked at."""
    from enclave.runtime.home import Home

    found = find_installation()
    return Runtime(
        drops=False, bwrap=found.bwrap, bwrap_version=found.bwrap_version, environment_id=found.environment_id,
        base=found.base, inner_python=f"/run/enclave-runtime/python/bin/{found.python}", host_env=found.host_env,
        kernel_env=found.kernel_env, packages=found.packages, command=(), environment={}, run=tmp_path, etc=tmp_path,
        neutral=None, home=Home(tmp_path / "home"),
    )  # fmt: skip


# ── a real set: built from real wheels, used by a real kernel ───────────────


def repack(found: Distribution, folder: Path) -> Path:
    """The wheel that an installed distribution came from, near enough: its files, without programs and caches."""
    metadata = found.metadata
    stem = f"{metadata['Name'].replace('-', '_')}-{found.version}"
    lines = (found.read_text("WHEEL") or "").splitlines()
    tag = [line.split(": ")[1] for line in lines if line.startswith("Tag:")][-1]
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        rows, record = [], ""
        for one in found.files or ():
            if ".." in one.parts or "__pycache__" in one.parts:
                continue
            if one.name == "RECORD":
                record = str(one)
                continue
            data = one.locate().read_bytes()  # type: ignore[attr-defined]  # a path of this file system
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{one},sha256={digest},{len(data)}")
            wheel.writestr(zipfile.ZipInfo(str(one)), data)
        wheel.writestr(zipfile.ZipInfo(record), "\n".join([*rows, f"{record},,", ""]))
    return path


def wheels_of(env: Path, folder: Path) -> str:
    """Wheels of a kernel's packages in ``folder``, and their lock."""
    lines: list[str] = []
    for found in distributions(path=[str(next(env.glob("lib/python*/site-packages")))]):
        name = found.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name not in TOO_LARGE:
            digest = hashlib.sha256(repack(found, folder).read_bytes()).hexdigest()
            lines.append(f"{name}=={found.version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``wheels/``, ``small.toml`` and ``small.txt``."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "wheels").mkdir()
    (folder / "small.toml").write_text(DESCRIPTION.format(version=1))
    (folder / "small.txt").write_text(wheels_of(find_installation().kernel_env, folder / "wheels"))
    return folder


@pytest.fixture
def run_env(auditd: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``enclave env`` in a process of its own, as an operator types it."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "enclave.cli.main", "env", *words, "--home", str(auditd.home.root)],
            capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment},
        )  # fmt: skip

    return run


@pytest.fixture
def writable_again(auditd: Any) -> Iterator[None]:
    """Gives the folders of built sets back to whoever removes this test's files."""
    yield
    for folder, _, _ in os.walk(auditd.home.root / "envs"):
        Path(folder).chmod(0o700)


@pytest.mark.slow
@pytest.mark.row("S6.1")
@pytest.mark.usefixtures("writable_again")
def test_a_set_is_built_used_by_a_kernel_and_named_in_its_records(
    run_env: Any, wheels: Path, auditd: Any, stand: Any, notebook_on: Any
) -> None:
    built = run_env("build", str(wheels / "small.toml"), "--ticket", "OPS-7", "--json", "-",
                    PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels / "wheels"))  # fmt: skip
    assert built.returncode == 0, built.stderr
    row = json.loads(built.stdout)
    assert {"ipykernel", "pyzmq"} <= {one["name"] for one in row["packages"]}
    (intent,) = auditd.events(kind="packages.build", outcome="intent")
    (done,) = auditd.events(kind="packages.build", outcome="ok")
    assert intent["ticket"] == "OPS-7"
    assert done["detail"]["tree"] == row["tree"]
    _check_read_only(auditd.home)
    again = run_env("build", str(wheels / "small.toml"))
    assert again.returncode == 13
    listed = json.loads(run_env("list", "--json", "-").stdout)
    (found,) = listed["sets"]
    assert listed["installed"].startswith("default@1:")

    notebook = notebook_on(stand.service_socket(), "small@1")
    try:
        assert notebook.run("import sys, IPython; print(len(sys.path) > 0)")[1] == "True\n"
        assert "ModuleNotFoundError" in notebook.run("import numpy")[1], "a package that is not in the set"
        assert "Error: [Errno" in notebook.run("open(IPython.__file__, 'a')")[1]
    finally:
        notebook.close()
    assert found["id"] == f"small@1:{row['tree'][:16]}"
    assert {event["detail"]["environment"] for event in auditd.events(kind="kernel.start")} == {found["id"]}
    cells = auditd.events(kind="cell.execute", outcome="intent")
    assert {event["detail"]["environment"] for event in cells} == {found["id"]}
    _a_changed_set_is_refused(stand, notebook_on, auditd)


def _check_read_only(home: Any) -> None:
    tree = set_folder(home, SetName("small", 1)) / TREE
    assert {oct(path.stat().st_mode & 0o777) for path in tree.rglob("*")} == {"0o555", "0o444"}
    assert not (tree / "bin").exists()
    (found,) = built_sets(home)
    verify(home, found)


def _a_changed_set_is_refused(stand: Any, notebook_on: Any, auditd: Any) -> None:
    """A launcher reads a set through once, so a new one is asked."""
    tree = set_folder(auditd.home, SetName("small", 1)) / TREE
    victim = next(tree.glob("lib/python*/site-packages/IPython/__init__.py"))
    victim.chmod(0o644)
    with victim.open("a") as file:
        file.write("# changed\n")
    stand.restart()
    with pytest.raises(IntegrityError):
        notebook_on(stand.service_socket(), "small@1")
    (failed,) = auditd.events(kind="kernel.start", outcome="failed")
    assert failed["reason"] == "package_set_changed"


@pytest.mark.slow
@pytest.mark.usefixtures("writable_again")
def test_bytes_that_the_lock_does_not_have_are_never_installed(
    run_env: Any, wheels: Path, auditd: Any, tmp_path: Path
) -> None:
    bad = shutil.copytree(wheels, tmp_path / "bad")
    victim = next((bad / "wheels").glob("traitlets-*.whl"))
    with zipfile.ZipFile(victim, "a") as wheel:
        wheel.writestr("surprise.pth", "import os")
    refused = run_env("build", str(bad / "small.toml"), "--wheels", str(bad / "wheels"))
    assert refused.returncode == 12
    fetched = run_env("build", str(bad / "small.toml"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(bad / "wheels"))
    assert fetched.returncode == 14, "pip refuses the hash before we do"
    victim.unlink()
    incomplete = run_env("build", str(bad / "small.toml"), "--wheels", str(bad / "wheels"))
    assert incomplete.returncode == 12
    reasons = [event["reason"] for event in auditd.events(kind="packages.build", outcome="failed")]
    assert reasons == ["wrong_hash", "not_fetched", "not_installed"]
    assert built_sets(auditd.home) == ()
    assert [path.name for path in (auditd.home.root / "envs").glob("*")] == []


def test_what_is_not_described_is_not_found(auditd: Any) -> None:
    done = CliRunner().invoke(env.app, ["build", "nowhere", "--home", str(auditd.home.root)])
    assert isinstance(done.exception, NotFoundError)
    assert auditd.events(kind="packages.build") == []


# ── which set a kernel gets ─────────────────────────────────────────────────


@pytest.fixture
def sets(stand_runtime: Runtime) -> Callable[..., PackageSets]:
    """Three built sets of one small file each: ``small@1``, ``small@2``, and ``gpu@1`` with a device."""
    home = stand_runtime.home
    for name, version, devices in (("small", 1, ()), ("small", 2, ()), ("gpu", 1, ("/dev/nvidia0",))):
        folder = set_folder(home, SetName(name, version))
        (folder / TREE / "lib").mkdir(parents=True)
        (folder / TREE / "lib" / "one.py").write_text(f"{name} = {version}\n")
        digest, files, size = tree_digest(folder / TREE)
        record = {"name": name, "version": version, "title": "", "python": _interpreter(stand_runtime), "lock": "",
                  "tree": digest, "files": files, "bytes": size, "built": "", "packages": [],
                  "devices": list(devices)}  # fmt: skip
        (folder / "set.json").write_text(json.dumps(record))
    return lambda **settings: PackageSets(stand_runtime, LauncherSettings(**settings))


def _interpreter(runtime: Runtime) -> str:
    from enclave.sandbox.set_store import interpreter

    return interpreter(runtime)


def test_a_kernel_gets_the_set_it_asks_for_else_the_projects_else_the_default(sets: Any) -> None:
    chosen = sets(environment_of={"imaging": "small@1"})
    assert chosen.choose("imaging", wanted="").id.startswith("small@1:")
    assert chosen.choose("imaging", wanted="small@2").id.startswith("small@2:")
    assert chosen.choose("imaging", wanted="small").id.startswith("small@2:"), "the newest"
    assert chosen.choose("other", wanted="").id.startswith("default@1:")
    assert sets(environment="small").choose("other", wanted="").id.startswith("small@2:")


@pytest.mark.parametrize("asked", ["small@3", "none", "../small", "small@", "default@9"])
def test_a_set_that_is_not_there_is_no_reason_to_take_another(sets: Any, asked: str) -> None:
    with pytest.raises(EnclaveError) as caught:
        sets().choose("imaging", wanted=asked)
    assert caught.value.family in ("not_found", "invalid")


def test_a_set_with_devices_is_for_the_projects_that_are_named_for_it(sets: Any) -> None:
    for name in ("gpu", "gpu@1"):
        allowed = sets(environment_of={"imaging": name})
        assert allowed.choose("imaging", wanted="").devices == ("/dev/nvidia0",)
        assert allowed.choose("imaging", wanted="gpu@1").devices == ("/dev/nvidia0",)
        with pytest.raises(DeniedError):
            allowed.choose("other", wanted="gpu@1")


def test_a_set_whose_files_are_not_those_that_were_built_opens_for_nobody(sets: Any, stand_runtime: Runtime) -> None:
    tree = set_folder(stand_runtime.home, SetName("small", 1)) / TREE
    (tree / "lib" / "two.py").symlink_to("/etc/passwd")
    with pytest.raises(IntegrityError):
        sets().choose("imaging", wanted="small@1")
    (tree / "lib" / "two.py").unlink()
    (tree / "lib" / "one.py").write_text("small = 3\n")
    with pytest.raises(IntegrityError):
        sets().choose("imaging", wanted="small@1")
    assert sets().choose("imaging", wanted="small@2")


def test_a_set_for_another_interpreter_is_refused(sets: Any, stand_runtime: Runtime) -> None:
    place = set_folder(stand_runtime.home, SetName("small", 1)) / "set.json"
    place.write_text(place.read_text().replace("python3", "python9"))
    with pytest.raises(InvalidError):
        sets().choose("imaging", wanted="small@1")
    assert find(built_sets(stand_runtime.home), "small@1") is not None
