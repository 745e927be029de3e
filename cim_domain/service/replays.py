"""Who handles which dead letter of a service, when it is replayed."""

from collections.abc import Mapping

from cim_domain.command_queue.worker import DEAD_LETTERS as SUBMISSIONS
from cim_domain.command_queue.worker import QueueWorker
from cim_domain.endpoints.commands import CONSUMER as COMMANDS
from cim_domain.endpoints.commands import CommandHandler
from cim_domain.endpoints.replay import Replay, ReplayHandler
from cim_domain.endpoints.replay_targets import (
    CommandReplay,
    ProcessReplay,
    ProjectionReplay,
    SubmissionReplay,
)
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letter_box import DeadLetterBox
from cim_domain.processes.runner import ProcessRunner


def replays_of_service(
    link: Link,
    subjects: Subjects,
    projections: Mapping[str, ProjectionReplay],
    processes: Mapping[str, ProcessRunner],
    submissions: QueueWorker,
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
