"""Locks: their lines, and how two environments differ."""

from __future__ import annotations

import pytest

from seafloor.domain.environments import Environment, compare_environments, parse_lock

SHA256 = "a" * 64
CONDA = f"conda numpy 2.1.0 py311h_0 https://example.com/c/linux-64/n.conda#sha256={SHA256}"


def environment(lock: str, *, python: str = "3.11.2", image: str | None = None) -> Environment:
    return Environment(
        project="default",
        name="e",
        version=1,
        python=python,
        pip=(),
        lock=lock,
        digest="",
        created_ns=0,
        image=image,
    )


@pytest.mark.parametrize(
    ("line", "exact"),
    [
        ("six==1.17.0", True),
        (f"six==1.17.0 --hash=sha256:{SHA256} --hash=sha256:{'b' * 64}", True),
        ("torch[extra]==2.1+cpu", True),
        (CONDA, True),
        (f"a @ https://example.com/a.whl#sha256={SHA256}", True),
        (f"a @ git+https://example.com/a.git@{'b' * 40}", True),
        (f"a @ git+https://example.com/a.git@{'b' * 40}#subdirectory=x", True),
        ("a @ git+https://example.com/a.git@main", False),
        ("a @ https://example.com/a.whl", False),
    ],
)
def test_lock__line__is_read_written_and_judged(line: str, exact: bool) -> None:
    (package,) = parse_lock(f"{line}\n\n")
    assert package.line == line
    assert package.is_exact == exact


def test_compare__environments__names_what_came_went_and_changed() -> None:
    before = environment(f"{CONDA}\nsix==1.16.0\ngone==1\n")
    after = environment(
        f"{CONDA.replace('2.1.0', '2.2.0')}\nsix==1.17.0\nnew==2\n", python="3.12.1", image="i"
    )
    found = [
        (one.kind, one.name, one.before, one.after) for one in compare_environments(before, after)
    ]
    assert found == [
        ("python", "", "3.11.2", "3.12.1"),
        ("image", "", None, "i"),
        ("conda", "numpy", "2.1.0 py311h_0", "2.2.0 py311h_0"),
        ("pip", "gone", "1", None),
        ("pip", "new", None, "2"),
        ("pip", "six", "1.16.0", "1.17.0"),
    ]
    assert compare_environments(before, before) == ()


def test_compare__same_version_of_other_files__is_a_difference() -> None:
    line = "six==1.17.0 --hash=sha256:"
    first, second = environment(line + "a" * 64), environment(line + "b" * 64)
    (found,) = compare_environments(first, second)
    assert (found.before, found.after) == ("1.17.0 (aaaaaaaaaaaa)", "1.17.0 (bbbbbbbbbbbb)")
    # A lock that an earlier version made says nothing of the files.
    assert compare_environments(first, environment("six==1.17.0")) == ()
