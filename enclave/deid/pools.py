"""Where the work of a job is done: in this process, in several of this machine, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from enclave.core.errors import UnavailableError
from enclave.deid.harvest import Harvest
from enclave.deid.inputs import Entry
from enclave.deid.private import PrivateElements
from enclave.deid.quiet import rare_collection
from enclave.deid.reading import size_of
from enclave.deid.reasons import Quarantined
from enclave.deid.source import sha256_of
from enclave.deid.table import vocabulary
from enclave.deid.templates import Layout
from enclave.deid.worker import Outcome, Plan, Seen, Worker, harvest_file

T = TypeVar("T")
R = TypeVar("R")
Task = tuple[int, Path, str]
_WITH_THREADS = frozenset(
    {"onnxruntime", "openvino"}
)  # libraries with threads of their own, which a forked process lacks
HarvestPart = tuple[Harvest, dict[int, Seen], list[Outcome]]
_BATCH_FILES, _BATCH_BYTES = 32, 8 << 20  # of a task: handing one over takes about as long as cleaning a small file
_SHARES = 8  # tasks that a worker should still get of what is left, so that all of them end together
_LOOKS = 8  # images of a task that only looks for text
_AHEAD = 1  # tasks that wait per process: enough that none is idle, few enough to be done again after a kill


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPass:
    """How files are harvested: ``key`` is that of ``PrivateElements``, ``retained`` of ``Harvest``.

    ``images``: whether what decides about pixels is noted, too; nobody asks for it where they are not cleaned.
    """

    key: bytes = field(repr=False)
    retained: frozenset[int]
    images: bool


class Pool(Protocol):
    """Runs both passes. Results come in any order; a result that was given is never given again."""

    def harvest(self, chunks: Iterable[list[Entry]], how: FirstPass) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""

    def look(self, tasks: list[Task], plan: Plan) -> Iterator[Layout | None]:
        """What text images show; None for each that cannot be looked at."""

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""


class Here:
    """This process alone."""

    def harvest(self, chunks: Iterable[list[Entry]], how: FirstPass) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""
        yield from (harvest_chunk(chunk, how) for chunk in chunks)

    def look(self, tasks: list[Task], plan: Plan) -> Iterator[Layout | None]:
        """What text images show."""
        worker = Worker(plan)
        yield from (worker.layout(*task) for task in tasks)

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""
        worker = Worker(plan)
        yield from (worker.run(*task) for task in tasks)


class Processes:
    """Processes of this machine, begun without other threads and their locks.

    A process of one thread forks itself, which takes no time. Of one with several (intaked) a copy would not be sound:
    there they are forked from a server that has loaded what they share, which takes a second, and with the models that
    the process's first job needs (``models``: names of modules that load them) some seconds; until it is there, this
    process does the first pass. Raises ``UnavailableError`` when one of them is killed; what is finished is in the
    journal.
    """

    def __init__(self, jobs: int, *, models: Sequence[str] = ()) -> None:
        self._jobs = jobs
        self._server = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(["__main__", "enclave.deid.preload", *models])
        self._awake = threading.Event()
        if _may_fork():
            self._awake.set()
        else:
            threading.Thread(target=self._wake, daemon=True).start()

    def harvest(self, chunks: Iterable[list[Entry]], how: FirstPass) -> Iterator[HarvestPart]:
        """The first pass over chunks of files."""
        waiting = iter(chunks)
        while not self._awake.is_set() and (first := list(itertools.islice(waiting, 1))):
            yield harvest_chunk(first[0], how)
        with self._executor(None) as executor:
            yield from self._windowed(executor, functools.partial(harvest_chunk, how=how), waiting)

    def look(self, tasks: list[Task], plan: Plan) -> Iterator[Layout | None]:
        """What text images show."""
        if not tasks:
            return
        with self._executor(plan) as executor:
            for layouts in self._windowed(executor, _look_here, batches(tasks, workers=self._jobs, files=_LOOKS)):
                yield from layouts

    def clean(self, tasks: list[Task], plan: Plan) -> Iterator[Outcome]:
        """The second pass over single files."""
        with self._executor(plan) as executor:
            for outcomes in self._windowed(executor, _clean_here, batches(tasks, workers=self._jobs)):
                yield from outcomes

    def _wake(self) -> None:
        try:
            first = self._server.Process(target=_nothing)
            first.start()
            first.join()
        finally:
            self._awake.set()

    @contextlib.contextmanager
    def _executor(self, plan: Plan | None) -> Iterator[ProcessPoolExecutor]:
        context = multiprocessing.get_context("fork") if _may_fork() else self._server
        executor = ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_start_worker, initargs=(plan,))
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


def _nothing() -> None:
    """The task of the first process."""


def _may_fork() -> bool:
    """Whether a copy of this process is sound: no other thread can hold a lock in it."""
    return threading.active_count() == 1 and _WITH_THREADS.isdisjoint(sys.modules)


def batches(tasks: list[Task], *, workers: int, files: int = _BATCH_FILES) -> Iterator[list[Task]]:
    """Files that go to a worker together: up to ``files`` small ones, a single large one, fewer toward the end."""
    batch: list[Task] = []
    room = _BATCH_BYTES
    for at, task in enumerate(tasks):
        batch.append(task)
        room -= size_of(task[2])
        left = len(tasks) - at - 1
        if room <= 0 or len(batch) >= min(files, left // (_SHARES * workers)):
            yield batch
            batch, room = [], _BATCH_BYTES
    if batch:
        yield batch


def lost_worker() -> UnavailableError:
    """The error for a worker that was ended from outside."""
    return UnavailableError(
        "deid: wanted all worker processes to live, got one that was ended; add --resume to go on", code="worker_lost"
    )


def harvest_chunk(chunk: list[Entry], how: FirstPass) -> HarvestPart:
    """The first pass over some files."""
    part = Harvest(vocabulary(), private=PrivateElements(how.key), retained=how.retained)
    seen: dict[int, Seen] = {}
    refused: list[Outcome] = []
    for entry in chunk:
        try:
            seen[entry.index] = harvest_file(part, entry.path, images=how.images)
        except Quarantined as verdict:
            refused.append(
                Outcome(index=entry.index, reason=verdict.reason, input_sha256=sha256_of(entry.path)),
            )
    part.forget()
    return part, seen, refused


_worker: list[Worker] = []
_for_life = contextlib.ExitStack()


def _start_worker(plan: Plan | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _for_life.enter_context(rare_collection())
    _worker[:] = [Worker(plan)] if plan is not None else []


def _end_with_parent() -> None:
    """A worker whose job was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _clean_here(batch: list[Task]) -> list[Outcome]:
    return [_worker[0].run(*task) for task in batch]


def _look_here(batch: list[Task]) -> list[Layout | None]:
    return [_worker[0].layout(*task) for task in batch]
