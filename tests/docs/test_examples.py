"""What the pages show can be typed: specs are read, files parse, commands have their options."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from seafloor.cli.main import cli
from seafloor.domain.specs import parse_experiment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_TYPED = re.compile(r"(?:`|^\$ |^|[|&] )seafloor ((?:-|[a-z])[^`\n#|]*)", re.MULTILINE)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files__that_a_page_shows__can_be_read(page: Path) -> None:
    for language, body in _FENCED.findall(page.read_text()):
        if language == "python":
            ast.parse(body)
        elif language == "toml":
            tomllib.loads(body)
        elif language == "yaml":
            for document in yaml.safe_load_all(body):
                if "experiment" in document:
                    parse_experiment(document["experiment"])


@pytest.mark.parametrize("page", [one for one in PAGES if one.parent.name != "formats"], ids=_name)
def test_commands__that_a_page_shows__are_there_with_their_options(page: Path) -> None:
    wrong = [
        f"{option or 'no such command'}: seafloor {line}"
        for line in _TYPED.findall(page.read_text())
        for option in _unknown(line.partition(" -- ")[0].split())
    ]
    assert not wrong


def _unknown(words: list[str]) -> Iterator[str]:
    """The options of a line that its command does not have; an empty one: there is no such."""
    command: click.Command = cli
    known = {option for one in command.params for option in one.opts}
    context = click.Context(command)
    for word in words:
        if word == "[OPTIONS]":
            return
        if word.startswith("-"):
            name = word.partition("=")[0].rstrip(".,:;)")
            if name not in known | {"-h", "--help", "--"}:
                yield name
        elif isinstance(command, click.Group):
            found = command.get_command(context, re.split(r"[|.,:;)]", word)[0])
            if found is None:
                yield ""
                return
            command = found
            known |= {name for one in found.params for name in (*one.opts, *one.secondary_opts)}
