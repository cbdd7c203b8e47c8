"""Splits work over processes of this machine; if one of them is killed, the work stops.

`concurrent.futures.ProcessPoolExecutor` reads the results of all processes from one pipe and keeps
both ends open. If a process is killed while it sends a result, the executor waits forever for the
rest. Here every process has its own pipe, which is closed when the process ends.
"""

import collections
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from sersl.core.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, processes: int, doing: str
) -> Generator[Result, None, None]:
    """Runs tasks in other processes, at most two per process ahead of the results taken.

    The processes end when the iterator is closed or this process ends.

    Args:
      work: function of one task; it is pickled once for each process, and tasks and results are
        pickled too.
      tasks: read when a process is free.
      processes: number of processes.
      doing: what they do, for messages, e.g. "that reads audio".

    Yields:
      The result of each task, in the order of the tasks.

    Raises:
      UserError: a process was killed.
      Exception: what `work` raised.
    """
    # Spawned, not forked: this process may have threads (ArrayRecord has).
    context = multiprocessing.get_context("spawn")
    free: queue.SimpleQueue = queue.SimpleQueue()
    started: list[multiprocessing.process.BaseProcess] = []

    def ask(task):
        connection = free.get()
        try:
            connection.send(task)
            good, result = connection.recv()
        except (EOFError, OSError) as error:
            # Results are taken in order, so the error would be raised only after earlier tasks.
            for process in started:
                process.kill()
            raise UserError(
                f"a process {doing} was killed, perhaps because memory ran out: run again with "
                "fewer --processes"
            ) from error
        finally:
            # Also that of an ended process: the next task fails at once instead of waiting.
            free.put(connection)
        if not good:
            raise result
        return result

    pipes = [context.Pipe() for _ in range(processes)]
    with contextlib.ExitStack() as stack:
        # Exits in reverse order: no new tasks, then the processes end, then the threads that wait
        # for them, then the pipes are closed.
        for connection in itertools.chain.from_iterable(pipes):
            stack.enter_context(connection)
        threads = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(_end, started)
        for ours, theirs in pipes:
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            started.append(process)
            theirs.close()  # otherwise the pipe stays open when the process ends
            free.put(ours)
        yield from stack.enter_context(
            contextlib.closing(in_order(threads, ask, tasks, ahead=2 * processes))
        )


def in_order(
    pool: Executor, work: Callable[[Task], Result], tasks: Iterable[Task], *, ahead: int
) -> Generator[Result, None, None]:
    """Runs tasks in a pool, a bounded number ahead of the results taken.

    Args:
      pool: of threads.
      work: function of one task.
      tasks: read as results are taken.
      ahead: largest number of results that wait.

    Yields:
      The result of each task, in the order of the tasks.
    """
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def end_with_parent(*_: object) -> None:
    """Ends this process when its parent process has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)  # other threads may be in a library call that does not return


def _serve(connection, work) -> None:
    # Ctrl-C is sent to every process of the terminal; this one ends with its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            task = connection.recv()
            try:
                answer = True, work(task)
            except Exception as error:
                answer = False, error
            connection.send(answer)


def _end(processes) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
