"""Packages: how far each is, and how its last build ended."""

from typing import Self
from uuid import UUID

from pydantic import model_validator

from aggregates.nix.package import (
    PackageBuildFailed,
    PackageBuildRequested,
    PackageBuilt,
    PackageCached,
    PackageStatus,
)
from aggregates.nix.values import SYSTEMS, AttributePath, FlakeRef, System, parse_attribute_path
from cim_domain import Metadata, Page, Projection, Query, View, Views, answers, projects
from projections.nix.builds import (
    Cached,
    FailedBuild,
    FailedBuildWithLog,
    RunningBuild,
    SucceededBuild,
)
from projections.nix.common import (
    DatedView,
    Part,
    TextQuery,
    aggregate_id,
    by_id_or_key,
    changed,
    first_dates,
    given,
    present,
    require_one,
)


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


class PackageStatusReport(Part):
    """How far a package is."""

    package_id: str
    flake_ref: str
    attribute: str
    status: PackageStatus
    running: RunningBuild | None
    last_result: SucceededBuild | FailedBuildWithLog | None


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


class GetPackageStatus(_OfOnePackage, type="package.get_status", aliases=("package.status",)):
    """How far a package is, and how its last build ended."""


class ListPackages(TextQuery, type="package.list"):
    """The packages by flake; `text` is looked for in the reference and the attribute."""

    status: PackageStatus | None = None
    system: System | None = None


class Packages(Projection):
    """For each package a view and, if its last build failed, its log; under the package's id."""

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
                status=PackageStatus.BUILDING,
                builds=event.number,
                running=running,
                **first_dates(metadata),
            )
        return changed(
            view, metadata, status=PackageStatus.BUILDING, builds=event.number, running=running
        )

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
            view, metadata, status=PackageStatus.BUILT, running=None, last_result=result, cached=()
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
        return changed(
            view, metadata, status=PackageStatus.FAILED, running=None, last_result=result
        )

    @projects
    def copied(
        self, view: PackageView | None, event: PackageCached, metadata: Metadata
    ) -> PackageView:
        package = present(view, metadata)
        others = tuple(one for one in package.cached if one.cache_url != event.cache_url)
        copy = Cached(
            cache_url=event.cache_url,
            cached_at=metadata.timestamp,
            store_paths=event.store_paths,
        )
        just_built = package.status is PackageStatus.BUILT
        return changed(
            view,
            metadata,
            status=PackageStatus.CACHED if just_built else package.status,
            cached=(*others, copy),
        )

    @projects
    def log_kept(self, _: LogTailView | None, event: PackageBuildFailed) -> LogTailView:
        return LogTailView(log_tail=event.log_tail)

    @projects
    def log_dropped(self, _: LogTailView | None, __: PackageBuilt) -> LogTailView | None:
        return None

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
        return await views.find(
            PackageView,
            given(status=query.status, system=query.system),
            text=query.text,
            order_by="flake_ref",
            limit=query.limit,
            after=query.after,
        )


def _system_in(attribute: str) -> System | None:
    try:
        names = parse_attribute_path(attribute).names
    except ValueError:  # from before the rules for attributes became what they are
        return None
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
