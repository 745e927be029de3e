"""Every benchmark by the name that ``--only`` takes, in the order of the table."""

from collections.abc import Awaitable, Callable, Mapping

from attrs import frozen

from benchmarks import commands, growth, loading, projections, throughput
from benchmarks.figures import Aim, Row
from benchmarks.stage import Stage


@frozen
class Benchmark:
    """What measures some rows."""

    aims: tuple[Aim, ...]
    measure: Callable[[Stage], Awaitable[list[Row]]]


CATALOGUE: Mapping[str, Benchmark] = {
    "alone": Benchmark((commands.ALONE,), commands.alone),
    "steady": Benchmark((commands.STEADY,), commands.steady),
    "projection": Benchmark((projections.SQLITE, projections.MEMORY), projections.catching_up),
    "durable": Benchmark((throughput.DURABLE, throughput.HOT), throughput.durable),
    "default-sync": Benchmark((throughput.DEFAULT,), throughput.default_sync),
    "large-log": Benchmark((loading.WILDCARD, loading.SIZE), loading.from_large_log),
    "long-history": Benchmark(
        (loading.REPLAY, loading.SNAPSHOT, loading.BOTH), loading.long_history
    ),
    "rebuild": Benchmark((projections.FOLLOWER,), projections.rebuild),
    "own-writes": Benchmark((projections.OWN_WRITES,), projections.own_writes),
    "growth": Benchmark((growth.GROWTH,), growth.growth),
    "memory": Benchmark((growth.MEMORY,), growth.memory),
}
