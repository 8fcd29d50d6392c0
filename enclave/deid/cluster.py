"""The work of a job on a Dask cluster whose workers see the same files. Needs the extra ``dask``.

What goes to the workers holds the key and the cohort's identities: the cluster is trusted as this process is, and
beyond one machine its address must be ``tls://``.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from enclave.core.errors import InvalidError, UnavailableError
from enclave.deid.inputs import Entry
from enclave.deid.pools import FirstPass, HarvestPart, Task, batches, harvest_chunk, lost_worker
from enclave.deid.quiet import rare_collection
from enclave.deid.templates import Layout
from enclave.deid.worker import Outcome, Plan, Worker

_CONNECT_S = 20
_AHEAD = 2  # tasks per thread of the cluster
_here = threading.Lock()  # parsing switches process-wide settings of pydicom
_workers: dict[str, Worker] = {}


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """The cluster behind the scheduler at ``address``.

    Raises ``InvalidError`` without the extra or for no address, ``UnavailableError`` when nothing answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InvalidError(
            "deid --scheduler: wanted the extra 'dask' installed, got none; install enclave[dask]"
        ) from None
    if not address.startswith(("tcp://", "tls://")):
        raise InvalidError("deid --scheduler: wanted tcp://HOST:PORT or tls://HOST:PORT, got another address")
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError):
        raise UnavailableError("deid --scheduler: wanted a Dask scheduler at that address, got no answer") from None
    try:
        yield Cluster(client)
    finally:
        client.close()


class Cluster:
    """Tasks of a lost worker are done again by another; their results count once."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def harvest(self, chunks: Iterable[list[Entry]], how: FirstPass) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""
        absolute = ([Entry(entry.index, entry.path.absolute()) for entry in chunk] for chunk in chunks)
        yield from self._each(lambda chunk: self._client.submit(_harvest_there, chunk, how, pure=False), absolute)

    def look(self, tasks: list[Task], plan: Plan) -> Iterator[Layout | None]:
        """What text images show."""
        shared = self._client.submit(_same, plan, pure=False)
        yield from self._each(lambda task: self._client.submit(_look_there, task, shared, pure=False), tasks)

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""
        run = secrets.token_hex(8)
        # A task's result, unlike scattered data, is made again when the workers that hold it are lost.
        shared = self._client.submit(_same, plan, pure=False)
        done = self._each(
            lambda batch: self._client.submit(_clean_there, batch, run, shared, pure=False),
            batches(tasks, workers=self._threads()),
        )
        for outcomes in done:
            yield from outcomes

    def _each(self, submit: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        from distributed import as_completed

        waiting = iter(tasks)
        done = as_completed(map(submit, itertools.islice(waiting, self._window())), loop=self._client.loop)
        for future in done:
            yield self._result(future)
            for task in itertools.islice(waiting, 1):
                done.add(submit(task))

    def _window(self) -> int:
        return _AHEAD * self._threads()

    def _threads(self) -> int:
        threads: int = sum(self._client.nthreads().values())
        return max(1, threads)

    @staticmethod
    def _result(future: Any) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except (KilledWorker, CancelledError, CommClosedError):
            raise lost_worker() from None


def _same(plan: Plan) -> Plan:
    return plan


def _harvest_there(chunk: list[Entry], how: FirstPass) -> HarvestPart:
    with _here, rare_collection():
        return harvest_chunk(chunk, how)


def _look_there(task: Task, plan: Plan) -> Layout | None:
    with _here, rare_collection():
        return Worker(plan).layout(*task)


def _clean_there(batch: list[Task], run: str, plan: Plan) -> list[Outcome]:
    with _here, rare_collection():
        if run not in _workers:
            _workers.clear()  # of jobs before
            _workers[run] = Worker(plan)
        return [_workers[run].run(*task) for task in batch]
