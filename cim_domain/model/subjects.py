"""The subjects and streams of a domain, each built here and nowhere else.

`{domain}.{cmd|submit|event|query}.{aggregate}.{action}`, with an optional prefix in front of the
domain that keeps several installations on one server apart.
"""

import re

from attrs import field, frozen

from cim_domain.errors import ModelError
from cim_domain.partition import PARTITIONS, partition_of

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PREFIX = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+")


def require_name(name: str, what: str) -> None:
    """Raise `ModelError` unless `name` is one lower snake case subject token."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"{what} {name!r} is not a lower snake case name: [a-z][a-z0-9_]*")


@frozen
class Subjects:
    """Every subject and stream name of one domain."""

    domain: str
    prefix: str = ""
    partitions: int = PARTITIONS
    """How many the domain's log has; fixed when the log is made."""
    root: str = field(init=False)
    event_stream: str = field(init=False, repr=False, eq=False)
    """``NIX_EVENTS``"""
    _depth: int = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        require_name(self.domain, "domain")
        if self.prefix and not _PREFIX.fullmatch(self.prefix):
            raise ModelError(
                f"subject prefix {self.prefix!r}: expected tokens of [a-z0-9_-], joined by dots"
            )
        root = f"{self.prefix}.{self.domain}" if self.prefix else self.domain
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "event_stream", self._stream("EVENTS"))
        object.__setattr__(self, "_depth", root.count(".") + 1)

    def command(self, message_type: str) -> str:
        """``nix.cmd.flake.create``"""
        return f"{self.root}.cmd.{message_type}"

    def submit(self, message_type: str) -> str:
        """``nix.submit.flake.create``: a command that is stored first."""
        return f"{self.root}.submit.{message_type}"

    def schedule(self, command_id: str) -> str:
        """``nix.schedule.ID``: where a command waits for its time."""
        return f"{self.root}.schedule.{command_id}"

    def outcome(self, key: str) -> str:
        """``nix.outcome.ID``: where the server tells that more is known of a stored command."""
        return f"{self.outcome_root}.{key}"

    def query(self, message_type: str) -> str:
        """``nix.query.flake.get``"""
        return f"{self.root}.query.{message_type}"

    def event(self, message_type: str) -> str:
        """``nix.event.flake.created``: where the server republishes what is stored."""
        return f"{self.root}.event.{message_type}"

    def journal(self, message_type: str, aggregate_id: str) -> str:
        """``nix.journal.7.flake.ID.created``: an event's subject in the log."""
        aggregate, action = message_type.split(".")
        return f"{self.journal_root(aggregate, aggregate_id)}{action}"

    def journal_of(self, aggregate: str, aggregate_id: str) -> str:
        """``nix.journal.7.flake.ID.*``: the one pattern for all events of an aggregate."""
        return f"{self.journal_root(aggregate, aggregate_id)}*"

    def journal_root(self, aggregate: str, aggregate_id: str) -> str:
        """``nix.journal.7.flake.ID.``: what the subjects of an aggregate's events begin with."""
        partition = partition_of(aggregate, aggregate_id, self.partitions)
        return f"{self.root}.journal.{partition}.{aggregate}.{aggregate_id}."

    def journal_of_type(self, message_type: str) -> str:
        """``nix.journal.*.flake.*.created``: every event of a type."""
        aggregate, action = message_type.split(".")
        return f"{self.root}.journal.*.{aggregate}.*.{action}"

    def journal_of_aggregates(self, aggregate: str) -> str:
        """``nix.journal.*.flake.*.*``: every event of every aggregate of a name."""
        return f"{self.root}.journal.*.{aggregate}.*.*"

    def type_in(self, subject: str) -> str:
        """``flake.create`` of ``nix.cmd.flake.create``: what follows the kind."""
        return subject.split(".", self._depth + 1)[-1]

    @property
    def commands(self) -> str:
        """``nix.cmd.>``"""
        return f"{self.root}.cmd.>"

    @property
    def submissions(self) -> str:
        """``nix.submit.>``"""
        return f"{self.root}.submit.>"

    @property
    def schedules(self) -> str:
        """``nix.schedule.*``"""
        return self.schedule("*")

    @property
    def outcome_root(self) -> str:
        """``nix.outcome``: what the subjects of such news begin with."""
        return f"{self.root}.outcome"

    @property
    def queries(self) -> str:
        """``nix.query.>``"""
        return f"{self.root}.query.>"

    @property
    def events(self) -> str:
        """``nix.event.*.*``"""
        return f"{self.root}.event.*.*"

    @property
    def journals(self) -> str:
        """``nix.journal.*.*.*.*``: all that the event stream holds."""
        return f"{self.root}.journal.*.*.*.*"

    def journals_in(self, partition: int) -> str:
        """``nix.journal.7.*.*.*``: what it holds in one partition."""
        return f"{self.root}.journal.{partition}.*.*.*"

    @property
    def republished(self) -> str:
        """Where the server sends a stored event, as a subject transform of `journals`."""
        return f"{self.root}.event.{{{{wildcard(2)}}}}.{{{{wildcard(4)}}}}"

    @property
    def dead_letter_root(self) -> str:
        """``nix.dlq``: what the subjects of dead letters begin with; the consumer follows."""
        return f"{self.root}.dlq"

    @property
    def dead_letters(self) -> str:
        """``nix.dlq.>``"""
        return f"{self.root}.dlq.>"

    def replay(self, consumer: str) -> str:
        """``nix.replay.process.builder``: asks that a dead letter of a consumer be replayed."""
        return f"{self.root}.replay.{consumer}"

    @property
    def replays(self) -> str:
        """``nix.replay.>``"""
        return self.replay(">")

    @property
    def service(self) -> str:
        """``cim-domain-nix``: the service's name, in health and in service discovery."""
        return f"cim-domain-{self.domain}"

    @property
    def health(self) -> str:
        """``health.cim-domain-nix``"""
        return f"{self.prefix}.health.{self.service}" if self.prefix else f"health.{self.service}"

    @property
    def command_stream(self) -> str:
        """``NIX_COMMANDS``"""
        return self._stream("COMMANDS")

    @property
    def dead_letter_stream(self) -> str:
        """``NIX_DLQ``"""
        return self._stream("DLQ")

    @property
    def snapshot_bucket(self) -> str:
        """``nix_snapshots``"""
        return self._bucket("snapshots")

    @property
    def outcome_bucket(self) -> str:
        """``nix_outcomes``: what came of commands that were stored first, or left no event."""
        return self._bucket("outcomes")

    def _bucket(self, suffix: str) -> str:
        return f"{self.root.replace('.', '_')}_{suffix}"

    def _stream(self, suffix: str) -> str:
        return f"{self.root.replace('.', '_').upper()}_{suffix}"
