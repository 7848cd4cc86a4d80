"""The process that reads a repository of Aim; see ``reader``."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from seafloor.domain.errors import NotSupported, SourceError

READER: Final = Path(__file__).with_name("reader.py")
_ERROR_FIRST: Final = b'{"error": '
T = TypeVar("T")


class _Error(msgspec.Struct):
    error: str


class Child:
    """A process with Aim in it. It ends when this one does, however that is.

    Args:
        python: Which Python.
        repository: The folder that holds ``.aim``.

    Raises:
        NotSupported: this Python has no Aim, or is none.
        SourceError: Aim cannot open the repository.
    """

    def __init__(self, python: str, repository: Path) -> None:
        self._python = python
        self._repository = repository
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._is_answering = False
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", str(READER), str(repository)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
        except OSError as error:
            raise NotSupported(
                f'"{python}" cannot be started ({error.strerror or error}): give --python PATH of '
                "a Python that has Aim."
            ) from error
        self._is_answering = True
        for line in self._answer():
            raise self._refusal(msgspec.json.decode(line, type=_Error).error)

    def ask(self, question: str, answer: type[T]) -> Iterator[T]:
        """Ask, and read the lines of the answer as they come.

        Raises:
            SourceError: Aim cannot read it, or its process ended.
        """
        for _ in self._answer():
            pass  # the rest of an answer that nobody wanted
        self._is_answering = True
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(question.encode() + b"\n")
                self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        for line in self._answer():
            yield self._read(line, answer)

    def _read(self, line: bytes, answer: type[T]) -> T:
        if line.startswith(_ERROR_FIRST):
            raise self._refusal(msgspec.json.decode(line, type=_Error).error)
        try:
            return msgspec.json.decode(line, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"What Aim says of {self._repository} is not understood: {error}"
            ) from error

    def _answer(self) -> Iterator[bytes]:
        while self._is_answering and self._process.stdout is not None:
            line = self._process.stdout.readline()
            if not line:
                raise self._ended()
            if line.strip() == b"null":
                self._is_answering = False
                return
            yield line

    def _refusal(self, said: str) -> NotSupported | SourceError:
        if said.startswith("ModuleNotFoundError"):
            return NotSupported(
                f"{self._python} has no Aim, which alone can read its repositories: "
                "`pip install aim` there, or give --python PATH of a Python that has it."
            )
        return SourceError(f'Aim cannot read "{self._repository}": {said}')

    def _ended(self) -> SourceError:
        code = self._process.wait()
        self._said.seek(0)
        last = self._said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        return SourceError(f'Aim ended with code {code} at "{self._repository}": {last[:500]}')
