"""Packages: how far each is, how its last build ended, and how builds fare on the whole."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, model_validator

from aggregates.nix.package import (
    PackageBuildFailed,
    PackageBuildRequested,
    PackageBuilt,
    PackageCached,
)
from aggregates.nix.values import SYSTEMS, AttributePath, FlakeRef, System, parse_attribute_path
from cim_domain import Metadata, Page, Projection, Query, View, Views, answers, projects
from projections.nix.common import (
    DatedView,
    TextQuery,
    aggregate_id,
    by_id_or_key,
    changed,
    first_dates,
    present,
    require_one,
)

PackageStatus = Literal["idle", "building", "built", "failed", "cached"]
"""Idle is a package that nobody has asked to be built; there is no view of one."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunningBuild(_Part):
    """A build that has been asked for and has not ended."""

    build_id: str
    number: int
    requested_at: datetime
    output_path: str | None


class SucceededBuild(_Part):
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


class FailedBuild(_Part):
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


class Cached(_Part):
    """A binary cache that the outputs of the last build to succeed were copied to."""

    cache_url: str
    cached_at: datetime


class PackageView(
    DatedView,
    name="package",
    indexed=("flake_ref", "attribute", "status", "system"),
    searched=("flake_ref", "attribute"),
):
    """A package. Its log is left to `PackageStatusReport`, since a page of logs fits no message."""

    package_id: str
    flake_ref: str
    attribute: str
    system: System | None
    """The segment of the attribute that names a system, as in ``packages.x86_64-linux.hello``."""
    status: PackageStatus
    builds: int
    """How many were asked for so far."""
    running: RunningBuild | None
    last_result: SucceededBuild | FailedBuild | None = None
    cached: tuple[Cached, ...] = ()


class LogTailView(View, name="log_tail"):
    """The last lines of a package's log, as long as its last build is one that failed."""

    log_tail: str


class SucceededBuildView(View, name="succeeded_build", indexed=("duration_s",)):
    """How long a build took, under its id."""

    duration_s: float


class BuildTotalsView(View, name="build_totals"):
    """All builds counted, under one key."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    mean_duration_s: float = 0.0


class PackageStatusReport(_Part):
    """How far a package is."""

    package_id: str
    flake_ref: str
    attribute: str
    status: PackageStatus
    running: RunningBuild | None
    last_result: SucceededBuild | FailedBuildWithLog | None


class PackageStatistics(_Part):
    """How builds fare. Durations are in seconds, of those that succeeded; null if none did."""

    total: int
    succeeded: int
    failed: int
    running: int
    mean_duration_s: float | None
    p95_duration_s: float | None
    """The least duration that 95 in 100 builds did not exceed (nearest rank)."""


class _OfOnePackage(Query):
    flake_ref: FlakeRef | None = None
    attribute: AttributePath | None = None
    package_id: UUID | None = None

    @model_validator(mode="after")
    def _means_one_package(self) -> Self:
        require_one(self, ("flake_ref", "attribute"), ("package_id",))
        return self


class GetPackage(_OfOnePackage, type="package.get"):
    """The package of a flake at an attribute, or with an id."""


class GetPackageStatus(
    _OfOnePackage, type="package.get_status", aliases=("package.status",)
):
    """How far a package is, and how its last build ended."""


class ListPackages(TextQuery, type="package.list"):
    """The packages by flake; `text` is looked for in the reference and the attribute."""

    status: PackageStatus | None = None
    system: System | None = None


class GetPackageStatistics(Query, type="package.statistics"):
    """How the builds of all packages fare."""


_ALL = "all"


def _build_id(event: PackageBuilt, _: Metadata) -> str:
    return event.build_id


def _all_builds(_: object, __: Metadata) -> str:
    return _ALL


class Packages(Projection):
    """A view for each package under its id; for each build that succeeded; and the totals."""

    @projects
    def build_requested(
        self, view: PackageView | None, event: PackageBuildRequested, metadata: Metadata
    ) -> PackageView:
        running = RunningBuild(
            build_id=event.build_id,
            number=event.number,
            requested_at=metadata.timestamp,
            output_path=event.output_path,
        )
        if view is None:
            return PackageView(
                package_id=aggregate_id(metadata),
                flake_ref=event.flake_ref,
                attribute=event.attribute,
                system=_system_in(event.attribute),
                status="building",
                builds=1,
                running=running,
                **first_dates(metadata),
            )
        return changed(view, metadata, status="building", builds=view.builds + 1, running=running)

    @projects
    def built(
        self, view: PackageView | None, event: PackageBuilt, metadata: Metadata
    ) -> PackageView:
        result = SucceededBuild(
            build_id=event.build_id,
            number=event.number,
            finished_at=metadata.timestamp,
            duration_s=event.duration_s,
            drv_path=event.drv_path,
            outputs=dict(event.outputs),
            closure_bytes=event.closure_bytes,
        )
        return changed(
            view, metadata, status="built", running=None, last_result=result, cached=()
        )

    @projects
    def build_failed(
        self, view: PackageView | None, event: PackageBuildFailed, metadata: Metadata
    ) -> PackageView:
        result = FailedBuild(
            build_id=event.build_id,
            number=event.number,
            finished_at=metadata.timestamp,
            kind=event.kind,
            message=event.message,
        )
        return changed(view, metadata, status="failed", running=None, last_result=result)

    @projects
    def copied(
        self, view: PackageView | None, event: PackageCached, metadata: Metadata
    ) -> PackageView:
        before = tuple(
            one for one in present(view, metadata).cached if one.cache_url != event.cache_url
        )
        copy = Cached(cache_url=event.cache_url, cached_at=metadata.timestamp)
        return changed(view, metadata, status="cached", cached=(*before, copy))

    @projects
    def log_kept(self, _: LogTailView | None, event: PackageBuildFailed) -> LogTailView:
        return LogTailView(log_tail=event.log_tail)

    @projects
    def log_dropped(self, _: LogTailView | None, __: PackageBuilt) -> LogTailView | None:
        return None

    @projects(key=_build_id)
    def timed(self, _: SucceededBuildView | None, event: PackageBuilt) -> SucceededBuildView:
        return SucceededBuildView(duration_s=event.duration_s)

    @projects(key=_all_builds)
    def counted_request(
        self, view: BuildTotalsView | None, _: PackageBuildRequested
    ) -> BuildTotalsView:
        totals = view or BuildTotalsView()
        return totals.model_copy(update={"total": totals.total + 1})

    @projects(key=_all_builds)
    def counted_success(
        self, view: BuildTotalsView | None, event: PackageBuilt, metadata: Metadata
    ) -> BuildTotalsView:
        totals = present(view, metadata)
        succeeded = totals.succeeded + 1
        # A mean carried on loses no precision as the builds grow many, which a sum would.
        mean = totals.mean_duration_s + (event.duration_s - totals.mean_duration_s) / succeeded
        return totals.model_copy(update={"succeeded": succeeded, "mean_duration_s": mean})

    @projects(key=_all_builds)
    def counted_failure(
        self, view: BuildTotalsView | None, _: PackageBuildFailed, metadata: Metadata
    ) -> BuildTotalsView:
        totals = present(view, metadata)
        return totals.model_copy(update={"failed": totals.failed + 1})

    @answers
    async def get_package(self, query: GetPackage, views: Views) -> PackageView:
        return await _found(query, views)

    @answers
    async def get_status(self, query: GetPackageStatus, views: Views) -> PackageStatusReport:
        package = await _found(query, views)
        result = package.last_result
        return PackageStatusReport(
            package_id=package.package_id,
            flake_ref=package.flake_ref,
            attribute=package.attribute,
            status=package.status,
            running=package.running,
            last_result=(
                await _with_log(result, package.package_id, views)
                if isinstance(result, FailedBuild)
                else result
            ),
        )

    @answers
    async def list_packages(self, query: ListPackages, views: Views) -> Page[PackageView]:
        where = {"status": query.status, "system": query.system}
        return await views.find(
            PackageView,
            {name: value for name, value in where.items() if value is not None},
            text=query.text,
            order_by="flake_ref",
            limit=query.limit,
            after=query.after,
        )

    @answers
    async def statistics(self, _: GetPackageStatistics, views: Views) -> PackageStatistics:
        totals = await views.get(BuildTotalsView, _ALL) or BuildTotalsView()
        # Builds may be added between the two reads, never taken away: the rank is always there.
        p95 = await views.find(
            SucceededBuildView,
            order_by="duration_s",
            skip=max(0, _rank(totals.succeeded, percent=95) - 1),
            limit=1,
        )
        return PackageStatistics(
            total=totals.total,
            succeeded=totals.succeeded,
            failed=totals.failed,
            running=totals.total - totals.succeeded - totals.failed,
            mean_duration_s=totals.mean_duration_s if totals.succeeded else None,
            p95_duration_s=p95.items[0].duration_s if totals.succeeded else None,
        )


def _system_in(attribute: str) -> System | None:
    names = parse_attribute_path(attribute).names
    return next((system for name in names for system in SYSTEMS if name == system), None)


async def _found(query: _OfOnePackage, views: Views) -> PackageView:
    return await by_id_or_key(
        views,
        PackageView,
        query.package_id,
        flake_ref=query.flake_ref,
        attribute=query.attribute,
    )


async def _with_log(result: FailedBuild, package_id: str, views: Views) -> FailedBuildWithLog:
    log = await views.get(LogTailView, package_id)
    return FailedBuildWithLog(**result.model_dump(), log_tail=log.log_tail if log else "")


def _rank(count: int, *, percent: int) -> int:
    """The nearest rank of a percentile among `count` values, counted from 1."""
    return -(-count * percent // 100)
