"""What a consumer's delivery tells about itself, in the subject that is to be answered."""

from typing import NamedTuple

from nats.aio.msg import Msg


class Delivery(NamedTuple):
    """Where a message stands in its stream and with its consumer. All counted from 1.

    `stored` is when the stream took it in, in nanoseconds since 1970 by the server's clock;
    `pending` is how many more the consumer had for delivery when this one was sent.
    """

    deliveries: int
    sequence: int
    consumer_sequence: int
    stored: int
    pending: int


def read_delivery(message: Msg) -> Delivery:
    """The facts in ``$JS.ACK.stream.consumer.deliveries.sequence.delivered.time.pending``.

    Or in the newer form, with domain and account in front and, mostly, a token of chance behind.
    Raises `ValueError` for a message that no consumer delivered.
    """
    tokens = message.reply.split(".")
    if not message.reply.startswith("$JS.ACK.") or len(tokens) not in {9, 11, 12}:
        raise ValueError(f"{message.reply[:200]!a} is not the reply subject of a delivery")
    place = 4 if len(tokens) == 9 else 6
    return Delivery(
        deliveries=int(tokens[place]),
        sequence=int(tokens[place + 1]),
        consumer_sequence=int(tokens[place + 2]),
        stored=int(tokens[place + 3]),
        pending=int(tokens[place + 4]),
    )
