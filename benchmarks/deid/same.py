"""``python -m benchmarks.deid.same OTHER INPUT...``: do two checkouts make the same output, byte for byte?

A change for speed must not change what is made. Runs the job of this checkout and of the one in folder ``OTHER`` over
each input with the same key under several recipes, and compares every file below the two outputs, the account of
actions and redactions and the reasons of what was held back among them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_HEADERS = ("retain_modified_dates", "retain_patient_characteristics", "retain_safe_private", "clean_descriptors",
            "clean_structured_content", "clean_graphics")  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "headers": {"options": _HEADERS},
    "default": {},
    "basic": {"options": ()},
    "kept": {"options": ("retain_full_dates", "retain_uids", "retain_device_identity", "retain_institution_identity")},
}


def main(other: Path, inputs: list[Path]) -> int:
    """Prints one line for each input and recipe; returns how many differ."""
    different = 0
    for source in inputs:
        for recipe in RECIPES:
            mine, theirs = (_made(checkout, source, recipe) for checkout in (_ROOT, other))
            wrong = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            different += bool(wrong)
            print(
                f"{source} {recipe}: {len(mine)} files, {len(wrong)} differ", *wrong[:5], sep="\n  " if wrong else " "
            )
    return different


def _made(checkout: Path, source: Path, recipe: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'kernels'}"}
    program = [_ROOT / ".venv" / "bin" / "python", __file__, "--run", source.absolute(), recipe]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _run(source: Path, recipe: str) -> dict[str, str]:
    from enclave.core.secret import Secret
    from enclave.deid.job import JobSpec, run_job
    from enclave.deid.keyring import derive_keyring
    from enclave.deid.recipe import build_recipe

    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "out"
        keyring = derive_keyring(Secret(bytes(range(32))))
        made = run_job(JobSpec(inputs=[source], output=output, recipe=build_recipe(RECIPES[recipe]), keyring=keyring))
        files = [path for path in output.rglob("*") if path.is_file() and path.name != ".journal.jsonl"]
        found = {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        for outcome in made.outcomes:
            account = {name: getattr(outcome, name) for name in outcome.__slots__ if name != "seconds"}
            found[f"outcome {outcome.index}"] = json.dumps(account, sort_keys=True)
        return found


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        json.dump(_run(Path(sys.argv[2]), sys.argv[3]), sys.stdout)
    else:
        sys.exit(main(Path(sys.argv[1]).absolute(), [Path(name) for name in sys.argv[2:]]))
