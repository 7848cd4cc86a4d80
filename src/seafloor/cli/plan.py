"""``seafloor plan``."""

from __future__ import annotations

from pathlib import Path

import click

from seafloor.cli.output import print_json, say, styled
from seafloor.cli.render import volume_claim_option
from seafloor.cli.run import submission_options
from seafloor.cli.session import Given, json_option, pass_given, server_options


@click.command(context_settings={"allow_interspersed_args": False})
@submission_options
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plan for Kubernetes, under this policy; with -f only.",
)
@click.option("--namespace", "-n", metavar="NAME", help="With --policy: default, its first.")
@volume_claim_option
@server_options
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_given
def plan(
    given: Given,
    policy: Path | None,
    namespace: str | None,
    volume_claims: tuple[str, ...],
    **what: object,
) -> int | None:
    """Say what `seafloor run` with the same arguments would do, and do nothing.

    A snapshot of the folder is taken for its digest, and thrown away.

    With --policy it says what `seafloor render` would make, in short: pods and what they ask for,
    images, what is fetched and how large it is, Secrets by name, and what is not as in the last
    run of the experiment. SPEC may be a notebook or a serving, and no server is needed but for
    volumes that it made.
    """
    from seafloor.cli.submissions import SubmissionOptions, make_submission, resolve_code
    from seafloor.domain.errors import InvalidValue
    from seafloor.wire.server import PlanCreate

    if policy is not None:
        return _for_cluster(given, policy, namespace, volume_claims, what)
    for option, value in (("--namespace", namespace), ("--volume-claim", volume_claims)):
        if value:
            raise InvalidValue(f"{option} goes with --policy.", field=option)

    submission = make_submission(SubmissionOptions(**what))  # pyright: ignore[reportArgumentType]
    code = resolve_code(submission, warn=say, client=None)
    made = given.client.plan(PlanCreate(submission.body, code))
    if given.json:
        print_json(made)
        return None
    for number, step in enumerate(made.steps, start=1):
        click.echo(f"{number}. {step}")
    for warning in made.warnings:
        say(f"warning: {warning}")
    if made.code_path is not None:
        click.echo(f"\ncode   {made.code_path}")
    for title, values in (("limits", made.limits), ("variables", made.variables)):
        click.echo(f"\n{title}")
        for name, value in values.items():
            click.echo(f"  {styled(name, 'bright_black')}={value}")
    return None


def _for_cluster(
    given: Given,
    policy: Path,
    namespace: str | None,
    volume_claims: tuple[str, ...],
    what: dict[str, object],
) -> int | None:
    from seafloor.cli.cluster_plan import plan_for_cluster, print_plan
    from seafloor.domain.errors import InvalidValue

    file = what.pop("file")
    if not isinstance(file, Path) or any(what.values()):
        raise InvalidValue("With --policy, give a spec by -f, and all else in it.", field="-f")
    made = plan_for_cluster(
        given, file, policy=policy, namespace=namespace, volume_claims=volume_claims
    )
    if isinstance(made, int):
        return made
    if given.json:
        print_json(made)
    else:
        print_plan(made)
    return None
