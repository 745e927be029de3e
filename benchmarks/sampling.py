"""Runs a module and notes where it is a thousand times in each second of processor time.

A child: ``python -m benchmarks.sampling OUTPUT MODULE ARGUMENTS…``. What was found goes to OUTPUT
as JSON when the module ends. A sample counts for the processor time that the main thread has had
since the one before; what other threads had meanwhile, those that write SQLite, is one entry.
Python sees a signal only between two of its own instructions, so that time in C, the event loop's
system calls above all, is found at whatever Python runs next. All this costs a few per cent; a
tracing profiler would more than double the time of the short functions that a service consists of.
"""

import runpy
import signal
import sys
from collections import defaultdict
from pathlib import Path
from time import process_time, thread_time
from types import CodeType, FrameType

import orjson

INTERVAL = 0.001
"""Seconds of processor time, of all threads together, between two samples."""


class Samples:
    """Milliseconds for each function: at work itself, and with all that it calls."""

    def __init__(self) -> None:
        self._own: defaultdict[CodeType, float] = defaultdict(float)
        self._cumulative: defaultdict[CodeType, float] = defaultdict(float)
        self._main = thread_time()
        self._all = process_time()
        self._began = (self._main, self._all)

    def take(self, _: int, frame: FrameType | None) -> None:
        """The handler of a signal."""
        before, self._main = self._main, thread_time()
        self._all = process_time()
        milliseconds = (self._main - before) * 1e3
        if frame is not None:
            self._own[frame.f_code] += milliseconds
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        for code in seen:
            self._cumulative[code] += milliseconds

    def to_json(self) -> bytes:
        """``{"total": …, "functions": [[name, own, cumulative], …]}``, in milliseconds."""
        main, everything = self._began
        total = (self._all - everything) * 1e3
        others = total - (self._main - main) * 1e3
        functions = [
            (f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}", self._own[code], found)
            for code, found in self._cumulative.items()
        ]
        return orjson.dumps(
            {"total": total, "functions": [("(other threads)", others, others), *functions]}
        )


def main(output: str, module: str, *arguments: str) -> None:
    """Run the module as the program that it is."""
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(output).write_bytes(samples.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
