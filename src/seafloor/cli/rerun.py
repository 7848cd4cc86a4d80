"""``seafloor rerun``: a run once more, with the same code, environment and parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from seafloor.cli.output import say
from seafloor.cli.run import RunOptions, follow, user_name
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.wire.runs import RunCreate, RunView

RERUN_TAG = "seafloor.rerun_of"


@click.command(epilog="Exits as the command did.")
@click.argument("run", metavar="RUN")
@click.option(
    "--with",
    "changes",
    multiple=True,
    metavar="K=V",
    help="Change an option of its command, a param or a variable.",
)
@click.option("--name", metavar="TEXT", help="Name of the new run.")
@click.option("--detach", "-d", is_flag=True, help="Return when it is submitted.")
@click.option(
    "--follow/--no-follow",
    "show_log",
    default=True,
    help="Print its log, or only wait for its end.",
)
@server_options
@json_option
@pass_given
def rerun(
    given: Given,
    *,
    run: str,
    changes: tuple[str, ...],
    name: str | None,
    detach: bool,
    show_log: bool,
) -> int:
    """Start a run again: the same commit or snapshot, the same lock, the same parameters.

    \b
    seafloor rerun @last
    seafloor rerun 3f2a --with lr=0.1 --with epochs=20
    """
    from seafloor.cli.references import find_run
    from seafloor.cli.submissions import parse_pairs

    pairs = parse_pairs(changes, field="--with")
    again = same_run(find_run(given.client, run), pairs, name=name)
    created = given.client.runs.create(again)
    options = RunOptions(detach=detach, follow=show_log and not given.json, params=())
    return follow(given, created, options)


def same_run(run: RunView, changes: dict[str, str], *, name: str | None) -> RunCreate:
    """What is to be submitted to have a run again.

    Raises:
        Conflict: it was not launched, so that nothing says how.
        InvalidValue: the run has nothing of a name in ``changes``.
    """
    from seafloor.domain.errors import Conflict
    from seafloor.domain.reruns import rerun_spec
    from seafloor.wire.runs import RunCreate

    if run.origin != "launched":
        raise Conflict(
            f"The run {run.name} was started by a program of its own, so that nothing here says "
            "how: start that program again, or launch it with `seafloor run -- COMMAND`."
        )
    _check_said_once(changes, own=run.spec.get("params") or {})
    spec = rerun_spec(run.spec, changes)
    if run.environment is not None:
        # The version that it had, whatever the newest one is by now.
        spec["environment"] = run.environment
    else:
        say("It ran in the Python it was given, which no record describes: this one may differ.")
    return RunCreate(
        spec=spec,
        code=run.code,
        idempotency_key=os.urandom(16).hex(),
        name=name,
        user=user_name(),
        tags={RERUN_TAG: run.id},
    )


def _check_said_once(changes: Mapping[str, str], *, own: Mapping[str, object]) -> None:
    """Refuse two values for one option: ``-`` and ``_`` are one in its name, not in a param's.

    Raises:
        InvalidValue: there are two.
    """
    from seafloor.domain.errors import InvalidValue

    seen: dict[str, str] = {}
    for name in changes:
        other = seen.setdefault(name.replace("_", "-"), name)
        if other != name and not (other in own and name in own):
            raise InvalidValue(
                f'"{other}" and "{name}" are the same option, and each has a value: which is '
                "meant?",
                field="--with",
            )
