"""One instance of a service as a process: it dies where it is told, and its clock is stepped.

``FAULT_POINT`` names the point, ``FAULT_CLOCK`` is a seed for the steps; the rest is configured as
for any service.
"""

import os
import random
import sys
from datetime import datetime, timedelta

from cim_domain.cli.log_setup import configure_logging
from cim_domain.errors import CimError
from cim_domain.model.metadata import Clock, utc_now
from cim_domain.nats.config.settings import load_settings
from cim_domain.service.adapters import Adapters, open_events, open_views
from cim_domain.service.runner import LOST, run, run_service
from cim_domain.service.settings import load_service_settings
from tests.faults.domain import faults_domain
from tests.faults.points import Fuse, FusedEvents, FusedLink, FusedReplies, FusedViews

STEPS = (
    timedelta(0),
    timedelta(hours=-1),
    timedelta(days=400),
    timedelta(milliseconds=-1),
    timedelta(days=-9000),
)


def stepped(seed: int) -> Clock:
    """A clock that is set back or forward every few times somebody looks at it."""
    draw = random.Random(seed)
    offset = timedelta(0)

    def now() -> datetime:
        nonlocal offset
        if draw.random() < 0.1:
            offset = draw.choice(STEPS)
        return utc_now() + offset

    return now


def main() -> int:
    """Serve until a signal comes."""
    configure_logging("info")
    fuse = Fuse.parse(os.environ.get("FAULT_POINT", ""))
    seed = os.environ.get("FAULT_CLOCK", "")
    adapters = Adapters(
        lambda link, subjects, settings: FusedEvents(
            open_events(FusedLink(link, fuse), subjects, settings), fuse
        ),
        lambda *asked: FusedViews(open_views(*asked), fuse),
        stepped(int(seed)) if seed else utc_now,
    )
    service = run_service(
        faults_domain(),
        load_settings(),
        load_service_settings(),
        observer=FusedReplies(fuse),
        adapters=adapters,
    )
    try:
        return run(service)
    except CimError as error:
        print(error, file=sys.stderr)
        return LOST


if __name__ == "__main__":
    sys.exit(main())
