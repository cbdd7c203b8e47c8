"""Shares work between processes of this machine; if one of them is killed, the work ends.

`concurrent.futures.ProcessPoolExecutor` reads the results of all its processes from one pipe and
keeps both ends open: if a process is killed in the middle of a result, it waits forever for the
rest. Here every process has its own pipe, which closes with it.
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
    """Works on tasks in other processes, at most two for each of them ahead of what is taken.

    Args:
      work: what is done with a task; pickled once to each process, as tasks and results are.
      tasks: drawn as processes get free.
      processes: how many.
      doing: what they do, for messages.

    Yields:
      What `work` gives for each task, in their order. Processes end with the iterator, and with
      this process.

    Raises:
      UserError: a process was ended from outside.
      Exception: whatever `work` raised.
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
            # Results are taken in order: others would be waited for first.
            for process in started:
                process.kill()
            raise UserError(
                f"a process {doing} was ended from outside, perhaps for want of memory: run again "
                "with fewer --processes"
            ) from error
        finally:
            free.put(connection)  # of one that has ended too: whoever gets it must not wait
        if not good:
            raise result
        return result

    pipes = [context.Pipe() for _ in range(processes)]
    with contextlib.ExitStack() as stack:
        # Undone from the last to the first: nothing more is begun, processes end, and with them the
        # threads that wait for them.
        for connection in itertools.chain.from_iterable(pipes):
            stack.enter_context(connection)
        threads = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(_end, started)
        for ours, theirs in pipes:
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            started.append(process)
            theirs.close()  # else it would not end with the process
            free.put(ours)
        yield from stack.enter_context(
            contextlib.closing(in_order(threads, ask, tasks, ahead=2 * processes))
        )


def in_order(
    pool: Executor, work: Callable[[Task], Result], tasks: Iterable[Task], *, ahead: int
) -> Generator[Result, None, None]:
    """Works on tasks in a pool, a bounded number ahead of what is taken.

    Args:
      pool: of threads.
      work: what is done with a task.
      tasks: drawn as results are taken.
      ahead: results that wait, at most.

    Yields:
      What `work` gives for each task, in their order.
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
    """Ends this process when the process that started it has ended, even if that one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)  # other threads may be inside of a library that does not return


def _serve(connection, work) -> None:
    # Ctrl-C reaches every process of the terminal; this one ends with its parent.
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
