"""Where replies may go: a client names the subject, and a service has rights that it has not."""


def may_reply(reply: str, guarded: str) -> bool:
    """Whether a client may name this subject for the reply to what it sends.

    A service may publish where its clients may not: to JetStream's API and to what `guarded` begins
    with. Its replies must not become a way there.
    """
    return not reply.startswith("$") and not (guarded and reply.startswith(guarded))
