"""A build worker outside of the service, with nothing but nats-py: any language could do this.

It hears of builds that are asked for, "builds", and answers with commands that say what caused
them. A worker that must not miss an event would read the stream instead; see docs/wire-contract.md.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid5

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

STORE_PATH = "/nix/store/0c5w8yrkd2vpmbq1z6n3xfj9iah4gs7l-web-1.0"
CACHE = "https://cache.example.org"


@asynccontextmanager
async def build_worker(url: str) -> AsyncIterator[None]:
    """Works until the block ends. Raises what went wrong meanwhile."""
    connection = await nats.connect(url, name="build-worker")
    try:
        subscription = await connection.subscribe("nix.event.package.*")
        await connection.flush()
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(_work(connection, subscription.messages))
            yield
            working.cancel()
    finally:
        await connection.close()


async def _work(connection: Client, events: AsyncIterator[Msg]) -> None:
    async for event in events:
        await _react(connection, event)


async def _react(connection: Client, event: Msg) -> None:
    built = json.loads(event.data)
    package = {"flake_ref": built["flake_ref"], "attribute": built["attribute"]}
    match event.subject.rpartition(".")[2]:
        case "build_requested":
            done = {
                "build_id": built["build_id"],
                "drv_path": f"{STORE_PATH}.drv",
                "outputs": {"out": STORE_PATH},
                "duration_s": 1.5,
            }
            await _command(connection, "package.complete_build", {**package, **done}, event)
        case "built":
            await _command(connection, "package.cache", {**package, "cache_url": CACHE}, event)


async def _command(
    connection: Client, message_type: str, fields: Mapping[str, Any], cause: Msg
) -> None:
    headers = cause.headers or {}
    event_id = headers["X-Event-ID"]
    reply = await connection.request(
        f"nix.cmd.{message_type}",
        json.dumps(fields).encode(),
        timeout=10,
        headers={
            # Derived from the event's, so that doing this twice has one effect.
            "X-Command-ID": str(uuid5(UUID(event_id), message_type)),
            "X-Correlation-ID": headers["X-Correlation-ID"],
            "X-Causation-ID": event_id,
        },
    )
    answer = json.loads(reply.data)
    if answer["status"] != "accepted":
        raise RuntimeError(f"{message_type}: {answer['error']['message']}")
