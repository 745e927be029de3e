"""A package: one attribute of one flake, its builds, and the caches its outputs are copied to.

- A package needs no creating: it is there, idle, as soon as somebody asks for a build. So there is
  no ``package.unknown``.
- One build at a time (``package.building``). Builds are numbered from 1; a build's id follows from
  the id of the command that asked for it.
- Only the running build can complete or fail (``package.build_unknown``).
- What can be cached is what the last successful build gave, also while a later build runs or after
  it failed; before the first success there is nothing (``package.not_built``). Caching again is
  recorded again, since a cache may have dropped what it had.
"""

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from attrs import evolve, frozen
from pydantic import AfterValidator, Field, StringConstraints

from aggregates.nix.values import (
    AttributePath,
    ByteCount,
    CacheUrl,
    DrvPath,
    FlakePath,
    FlakeRef,
    LogTail,
    OutputName,
    SafeText,
    Seconds,
    StorePath,
)
from aggregates.nix.values.refusal import refused
from cim_domain import (
    Aggregate,
    Command,
    Event,
    Metadata,
    Rejected,
    decides,
    derived_id,
    evolves,
)

MAX_OUTPUTS = 256


def _canonical_uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise refused("uuid", "is not a UUID; expected the build_id of the build") from None


BuildId = Annotated[str, AfterValidator(_canonical_uuid)]
"""A UUID as text, in lower case with dashes."""

Outputs = Annotated[dict[OutputName, StorePath], Field(min_length=1, max_length=MAX_OUTPUTS)]
"""The store path of each output by the output's name, such as ``out``."""

FailureKind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
"""What kind of failure it was, for programs: lower snake case, dotted where that helps."""


class PackageStatus(StrEnum):
    """What came of the latest build, and of caching it."""

    IDLE = "idle"
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"
    CACHED = "cached"


# Commands


class BuildPackage(Command, type="package.build"):
    """Ask for a build; it runs on its own and reports back."""

    flake_ref: FlakeRef
    attribute: AttributePath
    output_path: FlakePath | None = None
    """Where to put a link to the result; none without it."""


class CompletePackageBuild(Command, type="package.complete_build"):
    """Report what the running build gave."""

    flake_ref: FlakeRef
    attribute: AttributePath
    build_id: BuildId
    drv_path: DrvPath
    outputs: Outputs
    duration_s: Seconds
    closure_bytes: ByteCount | None = None


class FailPackageBuild(Command, type="package.fail_build"):
    """Report why the running build gave nothing."""

    flake_ref: FlakeRef
    attribute: AttributePath
    build_id: BuildId
    kind: FailureKind
    message: SafeText
    log_tail: LogTail


class CachePackage(Command, type="package.cache"):
    """Copy the outputs of the last successful build to a binary cache."""

    flake_ref: FlakeRef
    attribute: AttributePath
    cache_url: CacheUrl


# Events


class PackageBuildRequested(Event, type="package.build_requested"):
    """A build is to run; whoever runs it names `build_id` when reporting back."""

    flake_ref: str
    attribute: str
    output_path: str | None = None
    build_id: str
    number: int
    """Counts the builds of the package, from 1."""


class PackageBuilt(Event, type="package.built"):
    """The build gave these outputs."""

    flake_ref: str
    attribute: str
    build_id: str
    drv_path: str
    outputs: dict[str, str]
    duration_s: float
    closure_bytes: int | None = None
    number: int


class PackageBuildFailed(Event, type="package.build_failed"):
    """The build gave nothing."""

    flake_ref: str
    attribute: str
    build_id: str
    kind: str
    message: str
    log_tail: str
    number: int


class PackageCached(Event, type="package.cached"):
    """The outputs are to be found in the cache."""

    flake_ref: str
    attribute: str
    cache_url: str
    store_paths: tuple[str, ...]
    """The outputs of the last successful build, in the order in which it named them."""


# State


@frozen
class Package(Aggregate, key=("flake_ref", "attribute")):
    """How many builds there were, the running one, and what the last successful one gave."""

    status: PackageStatus = PackageStatus.IDLE
    builds: int = 0
    running: str | None = None
    """The id of the running build, which is the one with the number `builds`."""
    store_paths: tuple[str, ...] = ()

    # Decisions

    @decides
    def build(self, command: BuildPackage, metadata: Metadata) -> PackageBuildRequested:
        if self.running is not None:
            raise Rejected(
                "package.building",
                f"build {self.builds} of the package is running; wait until it has completed or"
                " failed",
                build_id=self.running,
                number=self.builds,
            )
        return PackageBuildRequested(
            flake_ref=command.flake_ref,
            attribute=command.attribute,
            output_path=command.output_path,
            build_id=derived_id(metadata.message_id, "build"),
            number=self.builds + 1,
        )

    @decides
    def complete_build(self, command: CompletePackageBuild) -> PackageBuilt:
        self._require_running(command.build_id)
        return PackageBuilt(
            flake_ref=command.flake_ref,
            attribute=command.attribute,
            build_id=command.build_id,
            drv_path=command.drv_path,
            outputs=command.outputs,
            duration_s=command.duration_s,
            closure_bytes=command.closure_bytes,
            number=self.builds,
        )

    @decides
    def fail_build(self, command: FailPackageBuild) -> PackageBuildFailed:
        self._require_running(command.build_id)
        return PackageBuildFailed(
            flake_ref=command.flake_ref,
            attribute=command.attribute,
            build_id=command.build_id,
            kind=command.kind,
            message=command.message,
            log_tail=command.log_tail,
            number=self.builds,
        )

    @decides
    def cache(self, command: CachePackage) -> PackageCached:
        if not self.store_paths:
            raise Rejected(
                "package.not_built",
                "no build of the package has succeeded, so there is nothing to cache; send"
                " package.build and wait for package.built",
            )
        return PackageCached(
            flake_ref=command.flake_ref,
            attribute=command.attribute,
            cache_url=command.cache_url,
            store_paths=self.store_paths,
        )

    def _require_running(self, build_id: str) -> None:
        if self.running is None:
            raise Rejected(
                "package.build_unknown",
                "no build of the package is running; send package.build first, and report with the"
                " build_id of its package.build_requested",
            )
        if build_id != self.running:
            raise Rejected(
                "package.build_unknown",
                f"build {build_id} is not the one that is running; report with the build_id of the"
                " latest package.build_requested, or drop the result",
                running=self.running,
            )

    # Evolutions

    @evolves
    def build_was_requested(self, event: PackageBuildRequested) -> Self:
        return evolve(
            self, status=PackageStatus.BUILDING, builds=event.number, running=event.build_id
        )

    @evolves
    def was_built(self, event: PackageBuilt) -> Self:
        store_paths = tuple(dict.fromkeys(event.outputs.values()))
        return evolve(self, status=PackageStatus.BUILT, running=None, store_paths=store_paths)

    @evolves
    def build_failed(self, _event: PackageBuildFailed) -> Self:
        return evolve(self, status=PackageStatus.FAILED, running=None)

    @evolves
    def was_cached(self, _event: PackageCached) -> Self:
        if self.status is not PackageStatus.BUILT:
            return self
        return evolve(self, status=PackageStatus.CACHED)
