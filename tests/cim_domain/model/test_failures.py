"""What a failure in a model's code is told as: the place, and no value."""

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from cim_domain.errors import Failed
from cim_domain.model.failures import cause, cause_with_text


class Payment(BaseModel):
    amount: int
    card: str

    @field_validator("card")
    @classmethod
    def _known(cls, card: str) -> str:
        if card:
            raise ValueError(f"{card} is blocked")
        return card


def failing() -> Exception:
    try:
        int("4111-")
    except ValueError as error:
        return error
    raise AssertionError


def refused(**fields: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate(fields)
    return caught.value


def test_it_names_field_and_sentence_and_none_of_the_values() -> None:
    error = refused(amount="much", card="4111")
    assert cause(error).startswith("amount: Input should be a valid integer")
    assert cause(error).endswith("(and 1 more)")
    assert cause(refused(amount=1, card="4111")) == "card: a validator refuses it"
    assert "4111" not in cause_with_text(refused(amount=1, card="4111"))


def test_where_there_is_no_field_it_names_the_line() -> None:
    assert cause(failing()).startswith("ValueError (test_failures.py:")
    assert "4111" not in cause(failing())
    assert "4111" in cause_with_text(failing())


def test_an_error_of_the_kit_says_it_itself() -> None:
    assert cause(Failed("no room")) == cause_with_text(Failed("no room")) == "no room"
