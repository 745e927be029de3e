"""Ids of what a message gives rise to and that is no message itself."""

import pytest

from cim_domain import caused_id, derived_id

CAUSE = "33333333-3333-4333-8333-333333333333"
OTHER = "44444444-4444-4444-8444-444444444444"


def test_the_same_cause_and_name_always_give_the_same_id() -> None:
    assert derived_id(CAUSE, "build") == "9e39b038-8ddd-530c-8527-9114f67df9d1"


def test_another_cause_or_another_name_gives_another_id() -> None:
    ids = {derived_id(cause, name) for cause in (CAUSE, OTHER) for name in ("build", "lease")}
    assert len(ids) == 4


@pytest.mark.parametrize("number", ["0", "7", "12"])
def test_a_number_is_refused_since_it_could_be_the_index_of_a_message(number: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        derived_id(CAUSE, number)
    assert caused_id(CAUSE, int(number)) != derived_id(CAUSE, f"n{number}")
