"""What may stand in no tracked file, and what the locks must hold."""

from __future__ import annotations

import ast
import json
import re
import subprocess

import pytest
from sources import ROOT, texts

from enclave.audit.vocabulary import known_kinds

TEXTS = texts()
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs.org", "registry." + "yarnpkg.com")
ROWS = re.compile(r"S(?:[1-9]|1[0-6])\.[1-9][0-9]?")


@pytest.mark.parametrize("host", HOSTS)
def test_no_registry_host_stands_in_a_tracked_file(host: str) -> None:
    assert [name for name, text in TEXTS.items() if host in text.lower()] == []


def test_the_registry_check_of_ci_passes() -> None:
    done = subprocess.run((ROOT / ".ci" / "registry-check",), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_is_left_for_later_in_a_comment() -> None:
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME")) + r"\b")
    ours = {name: text for name, text in TEXTS.items() if name.endswith((".py", ".md", ".toml", ".sh", ".js", ".ts"))}
    assert [name for name, text in ours.items() if words.search(text)] == []


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    paths = re.compile(r"(?<![\w.])/(?:" + "|".join(("wo" + "rk", "ro" + "ot")) + r")/(?!code|figure)\w")
    assert [name for name, text in TEXTS.items() if paths.search(text)] == []


@pytest.mark.parametrize("name", ["host", "dev", "kernel"])
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    lines = TEXTS[f"requirements/{name}.txt"].splitlines()
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+( ; .+)? \\", pin), pin
    assert sum("--hash=sha256:" in line for line in lines) >= len(pins)


def test_the_three_locks_agree_on_every_version() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    pin = re.compile(r"^([a-z0-9._-]+)(?:\[.*\])?==(\S+)(?: ; (.+?))? \\", re.MULTILINE)
    for name in ("host", "dev", "kernel"):
        for found in pin.finditer(TEXTS[f"requirements/{name}.txt"]):
            versions.setdefault((found[1], found[3] or ""), set()).add(found[2])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_proxys_lock_names_no_place_to_load_from() -> None:
    packages = json.loads(TEXTS["hub_config/proxy/package-lock.json"])["packages"]
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if name and "integrity" not in entry] == []


def test_every_row_that_a_test_names_exists_in_the_register() -> None:
    unknown = []
    for name, text in TEXTS.items():
        if not (name.startswith("tests/") and name.endswith(".py")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.row"):
                rows = [ast.literal_eval(argument) for argument in node.args]
                unknown += [f"{name}: {row}" for row in rows if not ROWS.fullmatch(row)]
    assert unknown == []


def test_every_kind_of_event_stands_in_the_code_that_writes_it_and_whole_in_a_test() -> None:
    code = [text for name, text in TEXTS.items() if name.startswith(("enclave/", "kernels/")) and name.endswith(".py")]
    tests = [text for name, text in TEXTS.items() if name.startswith("tests/") and name.endswith(".py")]
    for kind in known_kinds():
        family = kind.rpartition(".")[0]
        named, made = re.compile(rf"[\"'`]{re.escape(kind)}[\"'`]"), f'f"{family}.{{'
        assert any(named.search(text) or made in text for text in code), f"{kind}: nobody writes it"
        assert any(map(named.search, tests)), f"{kind}: no test looks for it"
