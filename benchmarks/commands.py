"""Rows 1 and 2: what one command costs, alone and under a steady load."""

from functools import partial
from statistics import mean, median

from nats.js.api import StreamConfig

from benchmarks.echo import READY
from benchmarks.figures import Aim, Row, at_most, percentile, ratios
from benchmarks.load import accepted, create_flake, latencies, rate, took
from benchmarks.processes import running
from benchmarks.stage import Stage

COMMAND = "nix.cmd.flake.create"
ECHO, BARE = "bench.echo", "bench.bare"
PER_SECOND = 500

ALONE = Aim(
    "1",
    "a command, one after another, durable ÷ (bare request and reply + bare JetStream publish)",
    at_most(1.4),
)
STEADY = Aim("2", f"{PER_SECOND} commands/s, durable: mean time to the reply", at_most(10), "ms")


async def alone(stage: Stage) -> list[Row]:
    """Row 1."""
    per_round = stage.size(400, 50)
    values, all_commands, all_bare = [], [], []
    async with stage.running() as at:
        stream = at.client.jetstream()
        await stream.add_stream(StreamConfig(name="BARE", subjects=[BARE]))
        async with running("benchmarks.echo", at.url, ECHO, ready=READY):
            for number in range(-1, stage.rounds):
                commands, echoes, publishes = [], [], []
                for place in range(per_round):
                    payload = create_flake(f"/srv/alone-{number}-{place}")
                    commands.append(await took(accepted(at.client, COMMAND, payload)))
                    echoes.append(await took(at.client.request(ECHO, payload, timeout=5)))
                    publishes.append(await took(stream.publish(BARE, payload)))
                if number < 0:
                    continue  # the round in which everything was cold
                bare = median(echoes) + median(publishes)
                values += ratios([median(commands)], [bare])
                all_commands.append(median(commands) * 1e3)
                all_bare.append(bare * 1e3)
    figures = {"command (ms)": median(all_commands), "bare (ms)": median(all_bare)}
    return [ALONE.measured(values, figures)]


async def steady(stage: Stage) -> list[Row]:
    """Row 2."""
    means, medians, worst = [], [], []
    seconds = stage.size(10, 1)
    async with stage.running() as at:
        create = partial(accepted, at.client, COMMAND)
        await rate([partial(create, create_flake(f"/srv/warm-{n}")) for n in range(500)], 4)
        for number in range(stage.size(2, 1)):
            found = await latencies(
                [
                    partial(create, create_flake(f"/srv/steady-{number}-{place}"))
                    for place in range(PER_SECOND * seconds)
                ],
                PER_SECOND,
            )
            means.append(mean(found) * 1e3)
            medians.append(percentile(found, 50) * 1e3)
            worst.append(percentile(found, 99) * 1e3)
    return [STEADY.measured(means, {"p50 (ms)": median(medians), "p99 (ms)": median(worst)})]
