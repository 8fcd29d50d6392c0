"""One client as a process: says when it is ready, appends for a while, prints how long each append took."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.audit.contenders import way_of
from benchmarks.audit.load import event_of, loop


def main() -> None:
    """``CONTENDER PLACE CLIENT SECONDS``."""
    contender, place, client, seconds = sys.argv[1:5]
    append = way_of(contender, place)
    append(event_of(int(client), 0))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(loop(append, int(client), until=time.monotonic() + float(seconds))), flush=True)


if __name__ == "__main__":
    main()
