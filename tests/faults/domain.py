"""What the faults happen to: commands with one event, several or none, and their views."""

from aggregates.nix.flake import Flake
from cim_domain import Domain
from projections.nix.flakes import Flakes
from tests.cim_domain.tallies import Tallies, Tally

NAME = "faults"


def faults_domain() -> Domain:
    """Flakes as the reference domain has them, and tallies, whose commands have many events."""
    return Domain(NAME, aggregates=[Flake, Tally], projections=[Flakes(), Tallies()])
