"""The page that says what happens with each DICOM attribute, from the tables that the pipeline itself reads."""

from __future__ import annotations

from enclave.deid.explain import explain_all
from enclave.deid.recipe import Recipe


def deid_page() -> str:
    """Every row of Table E.1-1 and every rule for what it does not list, under the recipe that holds without one."""
    recipe = Recipe()
    lines = [
        "# De-identification, attribute by attribute\n\n",
        "The basic profile of DICOM PS3.15 Annex E with the options that hold when no recipe is given: ",
        ", ".join(f"`{option}`" for option in sorted(recipe.options)),
        ".\n\nActions: D a dummy value, Z empty, X removed, K kept, C cleaned, U a new UID. ",
        "`enclave deid explain --recipe R.toml` says the same for a recipe of yours.\n\n",
        "| tag | attribute | action | because |\n|---|---|---|---|\n",
    ]
    lines += [f"| `{e['tag']}` | {e['name']} | {e['action']} | {e['because']} |\n" for e in explain_all(recipe)]
    return "".join(lines)
