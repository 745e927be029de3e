"""What an examination finds, and how it is shown."""

from collections.abc import Sequence
from typing import Any, Literal

from attrs import asdict, frozen
from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.output import columns
from cim_domain.cli.rendering.tables import status

Decision = Literal["ok", "warn", "fail"]

_ORDER: tuple[Decision, ...] = ("ok", "warn", "fail")


@frozen
class Finding:
    """One thing that was looked at; `advice` says what to do, where it is not `ok`."""

    name: str
    status: Decision
    message: str
    advice: str = ""


def worst(findings: Sequence[Finding]) -> Decision:
    """The worst of several; ok where there is none."""
    return max((one.status for one in findings), key=_ORDER.index, default="ok")


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs: ``{status, checks: [{name, status, message, advice}]}``."""
    return {"status": worst(findings), "checks": [asdict(one) for one in findings]}


def lines(findings: Sequence[Finding]) -> Text:
    """For people: a line for each, and what to do below it."""
    shown = columns([(status(one.status), one.name, one.message) for one in findings])
    with_advice = Text()
    for one, line in zip(findings, shown.split("\n"), strict=True):
        with_advice.append_text(line).append("\n")
        if one.advice:
            with_advice.append(f"      -> {escaped(one.advice)}\n", style="bold")
    with_advice.rstrip()
    return with_advice
