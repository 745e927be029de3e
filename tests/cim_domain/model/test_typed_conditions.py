"""Type checkers accept in a condition what the field holds, and refuse what it does not."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mypy import api

QUERIES = """\
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID
from cim_domain import Counted, Page, Summed, View, Views, field

class Status(StrEnum):
    OPEN = "open"
    SENT = "sent"

class OrderView(View, indexed=("number", "placed_on", "sent_at", "amount", "status", "customer")):
    number: int
    placed_on: date
    sent_at: datetime | None = None
    amount: Decimal = Decimal(0)
    status: Status = Status.OPEN
    customer: UUID
    note: str = ""

class RushView(OrderView):
    hour: int = 0

async def asked(views: Views, day: date, now: datetime, customer: UUID) -> None:
    found: Page[OrderView] = await views.find(
        OrderView,
        [
            field(OrderView.placed_on) >= day,
            field(OrderView.sent_at) < now,
            field(OrderView.amount) > Decimal("9.99"),
            field(OrderView.status) == Status.OPEN,
            field(OrderView.status).one_of([Status.OPEN, Status.SENT]),
            field(OrderView.customer) != customer,
            field(OrderView.note).starts_with("x"),
            field(OrderView.sent_at).is_none(),
            field(OrderView.sent_at).is_not_none(),
            field(OrderView.sent_at).one_of([None, now]),
        ],
        order_by=[field(OrderView.placed_on).descending(), field(OrderView.number), "status"],
    )
    await views.find(OrderView, {"number": 1, "placed_on": day, "customer": customer})
    await views.find(RushView, [field(RushView.hour) > 1, field(OrderView.number) == 2])
    one: OrderView | None = await views.first(OrderView, field(OrderView.number) > 1, note="x")
    by_status: list[Counted[Status]] = await views.count_by(OrderView, field(OrderView.status))
    for both in await views.sum_by(
        OrderView, (field(OrderView.status), field(OrderView.sent_at)), field(OrderView.amount)
    ):
        status: Status = both.by[0]
        sent: datetime | None = both.by[1]
        total: Decimal = both.sum
    amount: Decimal = await views.sum(OrderView, field(OrderView.amount), {"number": 1})
    RushView(number=1, placed_on=day, customer=customer, hour=2)

    field(OrderView.placed_on) >= "2025-01-01"  # wrong
    field(OrderView.sent_at) < "2025-01-01"  # wrong
    field(OrderView.amount) <= "9.99"  # wrong
    field(OrderView.number).one_of(["1"])  # wrong
    field(OrderView.note).starts_with(1)  # wrong
    field(OrderView.nothing)  # wrong
    await views.find(OrderView, [field(OrderView.customer) == 5])  # wrong
    await views.find(OrderView, [field(OrderView.number) > 1, True])  # wrong
    await views.find(OrderView, order_by=field(OrderView.number) > 1)  # wrong
    await views.count_by(OrderView, "status")  # wrong
    late: list[Counted[int]] = await views.count_by(OrderView, field(OrderView.status))  # wrong
    text: str = await views.sum(OrderView, field(OrderView.amount))  # wrong
    OrderView(number="one", placed_on=day, customer=customer)  # wrong
"""

WRONG = {number for number, line in enumerate(QUERIES.splitlines(), 1) if line.endswith("# wrong")}
PROJECT = Path(__file__).parents[3]


CHECKERS = ["mypy", *(["pyright"] if shutil.which("pyright") else [])]
"""The project installs the first alone."""


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_date_is_accepted_for_a_date_field_and_a_str_refused(
    checker: str, tmp_path: Path
) -> None:
    file = tmp_path / "queries.py"
    file.write_text(QUERIES)
    report = mypy_on(file) if checker == "mypy" else pyright_on(file)
    found = {int(line) for line in re.findall(r"queries\.py:(\d+):[\d: -]*error", report)}
    assert found == WRONG, report


def mypy_on(file: Path) -> str:
    options = ["--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache"]
    report, problems, _ = api.run(
        [*(str(PROJECT / one) if "." in one else one for one in options), str(file)]
    )
    assert problems == ""
    return report


def pyright_on(file: Path) -> str:
    ran = subprocess.run(
        ["pyright", str(file)], check=False, capture_output=True, text=True, cwd=PROJECT
    )
    return ran.stdout
