"""What of a server's log tells that its disk was full."""

from pathlib import Path

import pytest

from cim_domain.nats.server.directory import DataDirectory
from cim_domain.nats.server.disk import Disk

FULL = "[ERR] JetStream failed to store a msg on stream 'A > B': no space left on device"
DAMAGED = "[ERR] JetStream failed to store a msg on stream 'A > B': error opening msg block file"


@pytest.mark.parametrize(("line", "renewed"), [(FULL, True), (DAMAGED, False)])
def test_a_server_is_renewed_for_a_full_disk_and_not_for_a_damaged_stream(
    tmp_path: Path, line: str, *, renewed: bool
) -> None:
    directory = DataDirectory(tmp_path)
    disk = Disk(directory, 1)
    disk.started()
    directory.log.parent.mkdir(parents=True, exist_ok=True)
    directory.log.write_text(f"{line}\n")
    assert disk.look() is renewed
