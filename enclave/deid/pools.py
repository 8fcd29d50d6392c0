"""Where the work of a job is done: in this process, in several of this machine, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol, TypeVar

from enclave.core.errors import UnavailableError
from enclave.deid.harvest import Harvest
from enclave.deid.inputs import Entry
from enclave.deid.reasons import Quarantined
from enclave.deid.source import sha256_of
from enclave.deid.table import vocabulary
from enclave.deid.worker import Outcome, Plan, Seen, Worker, harvest_file

T = TypeVar("T")
R = TypeVar("R")
Task = tuple[int, Path, str]
HarvestPart = tuple[Harvest, dict[int, Seen], list[Outcome]]
_AHEAD = 3  # tasks that wait per process: enough that none is idle, few enough to be done again after a kill


class Pool(Protocol):
    """Runs both passes. Results come in any order; a result that was given is never given again."""

    def harvest(self, chunks: Iterable[list[Entry]]) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""


class Here:
    """This process alone."""

    def harvest(self, chunks: Iterable[list[Entry]]) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""
        yield from map(harvest_chunk, chunks)

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""
        worker = Worker(plan)
        yield from (worker.run(*task) for task in tasks)


class Processes:
    """Processes of this machine, begun without our threads and their locks (intaked has several).

    Raises ``UnavailableError`` when one of them is killed; what is finished is in the journal.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def harvest(self, chunks: Iterable[list[Entry]]) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""
        with self._executor(None) as executor:
            yield from self._windowed(executor, harvest_chunk, chunks)

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""
        with self._executor(plan) as executor:
            yield from self._windowed(executor, _clean_here, tasks)

    @contextlib.contextmanager
    def _executor(self, plan: Plan | None) -> Iterator[ProcessPoolExecutor]:
        fresh = multiprocessing.get_context("forkserver")
        fresh.set_forkserver_preload(["enclave.deid.pools"])
        executor = ProcessPoolExecutor(self._jobs, mp_context=fresh, initializer=_start_worker, initargs=(plan,))
        try:
            yield executor
        except BrokenProcessPool:
            raise lost_worker() from None
        finally:
            executor.shutdown(cancel_futures=True)

    def _windowed(self, executor: ProcessPoolExecutor, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        waiting = iter(tasks)
        running: set[Future[R]] = set()
        while True:
            free = self._jobs * (1 + _AHEAD) - len(running)
            running |= {executor.submit(function, task) for task in itertools.islice(waiting, free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def lost_worker() -> UnavailableError:
    """The error for a worker that was ended from outside."""
    return UnavailableError(
        "deid: wanted all worker processes to live, got one that was ended; add --resume to go on", code="worker_lost"
    )


def harvest_chunk(chunk: list[Entry]) -> HarvestPart:
    """The first pass over some files."""
    part = Harvest(vocabulary())
    seen: dict[int, Seen] = {}
    refused: list[Outcome] = []
    for entry in chunk:
        try:
            seen[entry.index] = harvest_file(part, entry.path)
        except Quarantined as verdict:
            refused.append(
                Outcome(index=entry.index, reason=verdict.reason, input_sha256=sha256_of(entry.path)),
            )
    return part, seen, refused


_worker: list[Worker] = []


def _start_worker(plan: Plan | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker[:] = [Worker(plan)] if plan is not None else []


def _end_with_parent() -> None:
    """A worker whose job was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _clean_here(task: Task) -> Outcome:
    return _worker[0].run(*task)
