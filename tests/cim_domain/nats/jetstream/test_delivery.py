"""What the reply subject of a delivery says, in each form that servers give it."""

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from cim_domain.nats.jetstream.delivery import Delivery, read_delivery


def delivered(reply: str) -> Msg:
    return Msg(Client(), "nix.journal.3.flake.x.created", reply)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.NIX_EVENTS.process-builder.3.71.50.1700000000000000000.9",
        "$JS.ACK._.AbCdEf.NIX_EVENTS.process-builder.3.71.50.1700000000000000000.9",
        "$JS.ACK.hub.AbCdEf.NIX_EVENTS.process-builder.3.71.50.1700000000000000000.9.tOkEn",
    ],
    ids=["short", "with domain and account", "with a token of chance"],
)
def test_each_form_says_the_same(reply: str) -> None:
    assert read_delivery(delivered(reply)) == Delivery(
        deliveries=3, sequence=71, consumer_sequence=50, stored=1_700_000_000_000_000_000, pending=9
    )


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "_INBOX.1.2.3.4.5.6.7.8",
        "$JS.ACK.S.C.1.2.3.4",
        "$JS.ACK.S.C.1.2.3.4.5.6",
        "$JS.ACK.S.C.one.2.3.4.5",
        "$JS.FC.S.C.1.2.3.4.5",
    ],
)
def test_what_is_no_delivery_is_refused(reply: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_delivery(delivered(reply))
