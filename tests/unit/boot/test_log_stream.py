"""A log that cannot be written fails nobody, and says afterwards how much it could not write."""

from __future__ import annotations

import os
from pathlib import Path

from seafloor.boot.log_stream import LogStream


def test_write__file_that_takes_nothing__is_counted_and_said_after(tmp_path: Path) -> None:
    file = tmp_path / "log"
    writer = os.open(file, os.O_WRONLY | os.O_CREAT)
    reader = os.open("/dev/null", os.O_RDONLY)
    fd = os.dup(reader)  # opened for reading: every write is refused
    stream = LogStream(fd)
    stream.write("one\n")
    stream.write("two\n")
    os.dup2(writer, fd)
    stream.write("three\n")
    for opened in (writer, reader, fd):
        os.close(opened)
    assert file.read_text() == '{"event": "2 log messages could not be written"}\nthree\n'


def test_write__text_that_is_not_utf8__is_written_escaped(tmp_path: Path) -> None:
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    LogStream(fd).write("bad \udcff\n")
    os.close(fd)
    assert file.read_text() == "bad \\udcff\n"
