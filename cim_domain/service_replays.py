"""Who handles which dead letter of a service, when it is replayed."""

from collections.abc import Mapping

from cim_domain.handlers import CONSUMER as COMMANDS
from cim_domain.handlers import CommandHandler
from cim_domain.nats.dead_letter_box import DeadLetterBox
from cim_domain.nats.link import Link
from cim_domain.reacting import ProcessRunner
from cim_domain.replay_consumers import (
    CommandReplay,
    ProcessReplay,
    ProjectionReplay,
    SubmissionReplay,
)
from cim_domain.replaying import Replay, ReplayHandler
from cim_domain.subjects import Subjects
from cim_domain.submissions import DEAD_LETTERS as SUBMISSIONS
from cim_domain.submissions import SubmissionRunner


def replays_of_service(
    link: Link,
    subjects: Subjects,
    projections: Mapping[str, ProjectionReplay],
    processes: Mapping[str, ProcessRunner],
    submissions: SubmissionRunner,
    commands: CommandHandler,
) -> ReplayHandler:
    """The handler that brings each letter to the consumer that it names."""
    consumers: dict[str, Replay] = {
        COMMANDS: CommandReplay(subjects, commands),
        SUBMISSIONS: SubmissionReplay(subjects, submissions),
    }
    for name, projection in projections.items():
        consumers[f"projection.{name}"] = projection
    for name, process in processes.items():
        consumers[f"process.{name}"] = ProcessReplay(link, subjects, process)
    box = DeadLetterBox(link, subjects.dead_letter_stream, subjects.dead_letter_root)
    return ReplayHandler(subjects, box, consumers)
