"""What is told about one build of a package: that it runs, how it ended, where its outputs went."""

from datetime import datetime
from typing import Literal

from projections.nix.common import Part


class RunningBuild(Part):
    """A build that has been asked for and has not ended."""

    build_id: str
    number: int
    requested_at: datetime
    output_path: str | None


class SucceededBuild(Part):
    """How a build ended that made something."""

    succeeded: Literal[True] = True
    build_id: str
    number: int
    finished_at: datetime
    duration_s: float
    drv_path: str
    outputs: dict[str, str]
    """Store paths by the outputs' names."""
    closure_bytes: int | None


class FailedBuild(Part):
    """How a build ended that made nothing."""

    succeeded: Literal[False] = False
    build_id: str
    number: int
    finished_at: datetime
    kind: str
    message: str


class FailedBuildWithLog(FailedBuild):
    """How a build failed, with the last lines of its log."""

    log_tail: str


class Cached(Part):
    """A binary cache that the outputs of the last build to succeed were copied to."""

    cache_url: str
    cached_at: datetime
    store_paths: tuple[str, ...]
