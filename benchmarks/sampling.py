"""Runs a module and notes where it is a thousand times in each second of processor time.

A child: ``python -m benchmarks.sampling OUTPUT MODULE ARGUMENTS…``. The counts go to OUTPUT as
JSON when the module ends. Samples are of the main thread, and cost it a few per cent; a tracing
profiler would more than double the time of the short functions that a service consists of.
"""

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

import orjson

INTERVAL = 0.001
"""Seconds of processor time, of all threads together, between two samples."""


class Samples:
    """How often each function was found: at work itself, and anywhere on the stack."""

    def __init__(self) -> None:
        self._total = 0
        self._own: Counter[CodeType] = Counter()
        self._cumulative: Counter[CodeType] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        """The handler of a signal."""
        self._total += 1
        if frame is not None:
            self._own[frame.f_code] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._cumulative.update(seen)

    def to_json(self) -> bytes:
        """``{"total": …, "functions": [[name, own, cumulative], …]}``, counted in samples."""
        functions = [
            (f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}", self._own[code], found)
            for code, found in self._cumulative.most_common()
        ]
        return orjson.dumps({"total": self._total, "functions": functions})


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
