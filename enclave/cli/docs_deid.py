"""The page that says what happens with each DICOM attribute, from the tables that the pipeline itself reads."""

from __future__ import annotations

from enclave.deid.explain import explain_all
from enclave.deid.iods import iod_names, types_edition
from enclave.deid.recipe import ROLES, Recipe

_PRIVATE = """
## Private elements

A private element stays when the standard's list or the recipe's `[private] allow` names its creator and element. All
others are removed, and the run's JSON says under `private_removed` what was met, for the expert who may want some of
them back. Those come first that tell patients apart the most. `elements` lists, without a value:

| key | meaning |
|---|---|
| `creator`, `creator_known` | the creator when it is one that is published; else a name under the job's key |
| `element`, `vr`, `vm` | group and element without the block, the representation as seen, fewest and most values |
| `files`, `patients`, `values` | in how many files and of how many patients it was met, and its distinct values |
| `own_value_share` | the share of patients with a value that nobody else has; nothing when not all were counted |
| `capped` | there were more values than are counted, or some were too long to be read |

`not_counted` says how often an element was met after the list was full. Values and patients are counted as keyed
hashes, which the run forgets. The determination's draft holds the first 300 under `deidentification`. A value of more
than 16 MiB in a large file is not read at all; its removal has a row of its own in the provenance.
"""

_MINIMUM = """
## The minimum necessary

`[minimum] attributes = ["KVP", "CTExposureSequence", "0008,0020"]` in a recipe names the attributes that the purpose of
the data set needs (`purpose = "..."` says it in words). Of all others, at the top level of each object, what is type 1
in its IOD stays by its rule, type 2 stays empty, and the rest goes, private elements of the safe list too. A sequence
stays or goes as a whole. Columns of tables that are not needed have the role `not_needed`.
"""

_LARGE = """
## Large jobs

A run reads each file twice: first all headers, to learn who the patients are and which words many share, then each file
to clean and write it. Memory does not grow with the size of a file.

- `--jobs N` does both passes in N processes of this machine. They start while the first pass runs; a job of a few
  seconds gains little.
- `--scheduler tcp://HOST:PORT` does them on a Dask cluster (`pip install enclave[dask]`) whose workers see input and
  output under the same paths. Workers get the pseudonym key and the identities of the cohort, so the cluster must be
  trusted as this machine is: beyond one machine use `tls://`. The loss of a worker loses and doubles nothing.
- `--resume` goes on with a run that was interrupted, killed or out of disk: give the same input, recipe, key and output
  folder; another recipe or key, files with other headers, and another version of the enclave, of a library or of a
  model are refused. What is finished is not done again,
  unless its bytes or those of the file that it came from are others since; what was found in an image counts for those
  pixels alone. Without `--resume` the output folder must be empty.

The output is the same, byte for byte, however it was made. [Figures](benchmarks.md).
"""


def deid_page() -> str:
    """Every row of Table E.1-1 and every rule for what it does not list, under the recipe that holds without one."""
    recipe = Recipe()
    lines = [
        "# De-identification, attribute by attribute\n\n",
        "The basic profile of DICOM PS3.15 Annex E with the options that hold when no recipe is given: ",
        ", ".join(f"`{option}`" for option in sorted(recipe.options)),
        ".\n\nActions: D a dummy value, Z empty, X removed, K kept, C cleaned, U a new UID. ",
        "`enclave deid explain --recipe R.toml` says the same for a recipe of yours, and with ",
        "`--sop-class CTImageStorage` for objects of one SOP class.\n\n",
        "An entry such as X/Z/D is resolved by the type that the attribute has in the IOD of the object ",
        f"(PS3.3 {types_edition()}, {len(iod_names())} storage SOP classes): D for type 1, Z for type 2, X for type 3 ",
        "and for what the IOD does not define; 1C and 2C count as 1 and 2, since the attribute is there. Inside of a ",
        "sequence the type of the attribute in that sequence decides. In a SOP class that is retired, or newer than ",
        "these facts, the letter is taken that keeps any IOD valid: D before Z before X. X/Z/U* keeps its items, with ",
        "new UIDs, for types 1 and 2, and is X for type 3.\n\n",
        "| tag | attribute | action | because |\n|---|---|---|---|\n",
    ]
    lines += [f"| `{e['tag']}` | {e['name']} | {e['action']} | {e['because']} |\n" for e in explain_all(recipe)]
    lines += [
        "\n## Tables\n\nCSV or Parquet. A recipe gives each column a role; a column without one is refused, so is ",
        "a column of dates without the role `date`. An identifier of the row's patient is searched for in each cell",
        " that is kept.\n\n| role | what happens |\n|---|---|\n",
        *(f"| `{role}` | {what} |\n" for role, what in ROLES.items()),
    ]
    lines += [_PRIVATE, _MINIMUM, _LARGE]
    return "".join(lines)
