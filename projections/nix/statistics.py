"""Statistics: how the builds of all packages fare."""

from aggregates.nix.package import PackageBuildFailed, PackageBuildRequested, PackageBuilt
from cim_domain import Metadata, Projection, Query, View, Views, answers, projects
from projections.nix.common import Part, present


class SucceededBuildView(View, name="succeeded_build", indexed=("duration_s",)):
    """How long a build took, under its id."""

    duration_s: float


class BuildTotalsView(View, name="build_totals"):
    """All builds counted, under one key."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    mean_duration_s: float = 0.0


class PackageStatistics(Part):
    """How builds fare. Durations are in seconds, of those that succeeded; null if none did."""

    total: int
    succeeded: int
    failed: int
    running: int
    mean_duration_s: float | None
    p95_duration_s: float | None
    """The least duration that 95 in 100 builds did not exceed (nearest rank)."""


class GetPackageStatistics(Query, type="package.statistics"):
    """How the builds of all packages fare."""


_ALL = "all"


def _build_id(event: PackageBuilt, _: Metadata) -> str:
    return event.build_id


def _all_builds(_: object, __: Metadata) -> str:
    return _ALL


class BuildStatistics(Projection):
    """A view for each build that succeeded, under its id, and the totals under one key."""

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
    async def statistics(self, _: GetPackageStatistics, views: Views) -> PackageStatistics:
        totals = await views.get(BuildTotalsView, _ALL) or BuildTotalsView()
        # From the longest down, since that is the nearer end. Builds may be added between the two
        # reads, never taken away, so that the rank is there.
        p95 = await views.find(
            SucceededBuildView,
            order_by="duration_s",
            descending=True,
            skip=totals.succeeded - _rank(totals.succeeded, percent=95),
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


def _rank(count: int, *, percent: int) -> int:
    """The nearest rank of a percentile among `count` values, counted from 1."""
    return -(-count * percent // 100)
