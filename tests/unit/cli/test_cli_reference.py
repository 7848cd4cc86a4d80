"""The reference page is what the commands say; the help is what the commands are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import pytest

from seafloor.cli.groups import LazyGroup
from seafloor.cli.main import cli

_SCRIPT = Path(__file__).parents[3] / "docs" / "reference" / "make_cli.py"


def lazy_groups() -> list[tuple[str, LazyGroup]]:
    found: list[tuple[str, LazyGroup]] = [("seafloor", cli)]  # type: ignore[list-item]
    for path, group in found:
        for name in group.homes:
            command = group.get_command(click.Context(group), name)
            if isinstance(command, LazyGroup):
                found.append((f"{path} {name}", command))
    return found


def test_reference__compared_with_the_commands__is_the_same() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (_SCRIPT.parent / "cli.md").read_text(encoding="utf-8")
    assert script.make_page() == written, "run: python docs/reference/make_cli.py"


@pytest.mark.parametrize(("path", "group"), lazy_groups())
def test_help__of_every_group__says_what_the_commands_say(path: str, group: LazyGroup) -> None:
    context = click.Context(group)
    for name, (_, text) in group.homes.items():
        command = group.get_command(context, name)
        assert command is not None, f"{path} {name}"
        assert command.name == name
        assert len(text) <= 70
        assert text.endswith(".")


def test_help__every_option__is_described() -> None:
    for path, group in lazy_groups():
        for name in group.homes:
            command = group.get_command(click.Context(group), name)
            assert command is not None
            assert command.help, f"{path} {name}"
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, f"{path} {name} {parameter.opts}"
