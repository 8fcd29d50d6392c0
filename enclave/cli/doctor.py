"""``enclave doctor``: is everything here that an enclave needs, and what does a miss cost?"""

from __future__ import annotations

from enclave.cli.doctor_checks import run_checks
from enclave.cli.output import HomeOption, JsonOption, words, write_json
from enclave.core.errors import UnavailableError
from enclave.runtime.home import home_from

_MARKS = {
    "required": "[bold red]missing[/]",
    "recommended": "[yellow]advice[/] ",
    "optional": "[dim]optional[/]",
    "guarantee": "[bold red]open[/]    ",
}


def doctor(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Check all prerequisites and say what each missing one costs."""
    results = run_checks(home_from(home))
    missing = [result["id"] for result in results if result["level"] == "required" and not result["ok"]]
    if json_path:
        write_json({"ok": not missing, "checks": results}, json_path)
    console = words()
    for result in results:
        mark = "[green]ok[/]     " if result["ok"] else _MARKS[str(result["level"])]
        console.print(f"{mark:<20} {result['id']}: {result['found']}")
        if not result["ok"]:
            console.print(f"         costs: {result['cost']}\n         mend:  {result['remedy']}", markup=False)
    if missing:
        raise UnavailableError(
            f"doctor: wanted all that is required, got {len(missing)} missing: {', '.join(map(str, missing))}"
        )
    console.print("Everything that is required is here.")
