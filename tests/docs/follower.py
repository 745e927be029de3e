"""A reader who does what a document says, to the letter, in a directory of his own.

- ``python`` that begins with a comment ``# path/file.py`` is that file, and the same path again
  goes on with it; any other is run.
- ``toml`` that begins with a comment ``# path/file.toml`` is that file; all of it is loaded.
- ``sh`` is run as a script that ends at the first error. A line ``cim-domain serve ...`` goes on in
  the background, as in another shell, until a line ``# Ctrl-C in the first shell``, the next such
  line, or the end of the document. A line ``make ...`` must be something that can be made.
- ``json`` is parsed.
- A ``text`` block right behind is the output, in which ``...`` stands for anything.

Nothing is shared with the machine: the home, the data and the server are the reader's own.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.documents import ROOT, Block

BIN = Path(sys.executable).parent
DEFAULT_URL = "nats://127.0.0.1:4222"
INTERRUPT = "# Ctrl-C in the first shell"
SECONDS = 60

_SETTINGS = """
from cim_domain.nats.config.settings import load_settings
from cim_domain.service.settings import load_service_settings
print(load_settings(), load_service_settings())
"""


class Follower(AbstractContextManager["Follower"]):
    """Follows one document in `directory`; what he started has ended when the block ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._made: set[Path] = set()
        self._service: subprocess.Popen[bytes] | None = None
        self._url = DEFAULT_URL
        self._environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(directory),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = self._end_service()
        assert error is not None or code in {None, 0}, f"the service ended with {code}"

    def follow(self, block: Block) -> None:
        """Do what a block says. Raises `AssertionError` where it does not work as it says."""
        match block.language:
            case "python" if block.file:
                self._make(block)
            case "python":
                self._compare(block, self._run([sys.executable, "-"], block.text))
            case "sh":
                self._compare(block, self._shell(block))
            case "toml":
                self._load(block)
            case "json":
                json.loads(block.text)
            case language:
                raise AssertionError(f"line {block.line}: a block in {language or 'no language'!r}")

    def _make(self, block: Block) -> None:
        path = self.directory / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if path in self._made else "w") as file:
            file.write(block.text)
        self._made.add(path)

    def _load(self, block: Block) -> None:
        if block.file:
            self._make(block)
        file = self.directory / "read.toml"
        file.write_text(block.text)
        self._run([sys.executable, "-"], _SETTINGS, CIM_DOMAIN_CONFIG=str(file))

    def _shell(self, block: Block) -> str:
        output = ""
        script: list[str] = []
        for line in block.text.splitlines():
            if line.startswith("cim-domain serve "):
                output += self._script(script)
                script = []
                self._serve(shlex.split(line, comments=True))
            elif line == INTERRUPT:
                output += self._script(script)
                script = []
                assert self._end_service() == 0
            elif line.startswith("make "):
                self._check_target(line)
            else:
                script.append(line)
        return output + self._script(script)

    def _script(self, lines: list[str]) -> str:
        return self._run(["bash", "-e", "-u", "-o", "pipefail"], "\n".join(lines)) if lines else ""

    def _check_target(self, line: str) -> None:
        """The target is there; what it does is the business of other tests."""
        planned = subprocess.run(
            ["make", "--dry-run", *shlex.split(line, comments=True)[1:]],
            cwd=ROOT, check=False, capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        assert planned.returncode == 0, planned.stderr.decode()

    def _serve(self, command: list[str]) -> None:
        assert self._end_service() in {None, 0}
        log = self.directory / "serve.log"
        with log.open("wb") as stderr:
            self._service = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=self.directory, env=self._environment, stderr=stderr,
            )  # fmt: skip
        # Each attempt waits a while itself.
        ask = [str(BIN / "cim-domain"), "health", *_without_metrics(command[2:])]
        while subprocess.run(
            ask, check=False, capture_output=True, timeout=SECONDS,
            cwd=self.directory, env=self._environment,
        ).returncode:  # fmt: skip
            assert self._service.poll() is None, log.read_text()
        found = re.search(r"nats-server \S+ is at (\S+)", log.read_text())
        self._url = found[1] if found else self._url

    def _end_service(self) -> int | None:
        service, self._service = self._service, None
        if service is None:
            return None
        service.send_signal(signal.SIGTERM)
        try:
            return service.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            return service.wait()

    def _run(self, command: list[str], text: str, **environment: str) -> str:
        done = subprocess.run(
            command,
            check=False,
            input=text.replace(DEFAULT_URL, self._url).encode(),
            cwd=self.directory,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
        output = done.stdout.decode()
        assert done.returncode == 0, f"exit code {done.returncode} of\n{text}\n{output}"
        return output

    def _compare(self, block: Block, output: str) -> None:
        if block.output is None:
            return
        pattern = ".*".join(re.escape(part) for part in _lines(block.output).split("..."))
        assert re.fullmatch(pattern, _lines(output), re.DOTALL), (
            f"line {block.line} gives\n{output}\nand not\n{block.output}"
        )


def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _without_metrics(arguments: list[str]) -> list[str]:
    """The arguments of `serve` that other commands have as well."""
    if "--metrics-port" not in arguments:
        return arguments
    at = arguments.index("--metrics-port")
    return arguments[:at] + arguments[at + 2 :]
