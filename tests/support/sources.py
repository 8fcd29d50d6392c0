"""The project's own files, for the tests that hold its rules: ``from sources import ROOT, tracked, modules``."""

from __future__ import annotations

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"enclave": ROOT, "enclave_kernel": ROOT / "kernels", "enclave_kernel_views": ROOT / "kernels"}


@dataclass(frozen=True, slots=True)
class Module:
    """One module of ours: its dotted name, its file, its text and syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module


@functools.cache
def modules(package: str = "enclave") -> tuple[Module, ...]:
    """All modules of one of our packages."""
    base = PACKAGES[package]
    found = []
    for path in sorted((base / package).rglob("*.py")):
        parts = path.relative_to(base).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks (the whole tree where there is no git)."""
    try:
        done = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        skipped = {".git", ".venv", ".venv-kernel", "node_modules", ".stamps", "__pycache__"}
        return tuple(p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.relative_to(ROOT).parts))
    return tuple(path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())


def texts() -> dict[str, str]:
    """Tracked files that are text, by their path from the root."""
    found = {}
    for path in tracked():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
    return found


def imported(module: Module) -> list[tuple[str, int]]:
    """What a module imports, anywhere in it: dotted names and lines; names below an own package in full."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.extend((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    return found


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the first Markdown table below a heading, without its head."""
    lines = text.partition(f"{heading}\n")[2].splitlines()
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]
