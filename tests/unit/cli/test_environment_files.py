"""Files of other tools: what they hold is kept, the rest is refused by line or told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from seafloor.cli.environment_files import read_environment_file
from seafloor.cli.requirement_files import read_requirements
from seafloor.domain.errors import InvalidValue, NotFound, SeafloorError
from seafloor.domain.specs import parse_environment

SHA256 = "0" * 64

REQUIREMENTS = """\
# what we need
numpy>=2      # fast
pandas==2.2.3 \\
    --hash=sha256:00
torch ; sys_platform == "linux"
"""
PYPROJECT = """\
[project]
name = "whales"
version = "1.0"
requires-python = "==3.11.*"
dependencies = ["numpy>=2", "click"]
[project.optional-dependencies]
plots = ["matplotlib"]
[dependency-groups]
dev = ["pytest"]
"""
UV_LOCK = f"""\
version = 1
requires-python = ">=3.11"
[[package]]
name = "whales"
version = "1.0"
source = {{ virtual = "." }}
dependencies = [
  {{ name = "click" }},
  {{ name = "numpy", version = "2.1.0", marker = "python_full_version < '3.12'" }},
  {{ name = "numpy", version = "2.2.0", marker = "python_full_version >= '3.12'" }},
  {{ name = "krill" }},
  {{ name = "wheel-at" }},
]
[package.dev-dependencies]
dev = [{{ name = "pytest" }}]
[[package]]
name = "click"
version = "8.1.0"
source = {{ registry = "https://index.example/simple" }}
dependencies = [{{ name = "colorama", marker = "sys_platform == 'win32'" }}]
[[package]]
name = "colorama"
version = "0.4.6"
source = {{ registry = "https://index.example/simple" }}
[[package]]
name = "numpy"
version = "2.1.0"
source = {{ registry = "https://index.example/simple" }}
[[package]]
name = "numpy"
version = "2.2.0"
source = {{ registry = "https://index.example/simple" }}
[[package]]
name = "krill"
version = "0.1"
source = {{ git = "https://example.com/krill?rev=v1#{"a" * 40}" }}
[[package]]
name = "wheel-at"
version = "1.0"
source = {{ url = "https://example.com/wheel_at-1.0-py3-none-any.whl" }}
wheels = [
  {{ url = "https://example.com/wheel_at-1.0-py3-none-any.whl", hash = "sha256:{SHA256}" }},
]
[[package]]
name = "pytest"
version = "8.0.0"
source = {{ registry = "https://index.example/simple" }}
"""
ENVIRONMENT_YML = """\
name: whales
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - numpy >=2
  - pip
  - pip:
    - krill==0.1
    - torch
variables:
  OMP_NUM_THREADS: "1"
"""
SUBMARINE = """\
{"name": "team-ml", "dockerImage": "apache/submarine:jupyter", "description": "ours",
 "kernelSpec": {"name": "team", "channels": ["defaults"],
  "condaDependencies": ["_ipyw_jlab_nb_ext_conf=0.1.0=py37_0", "anaconda=2020.02=py37_0"],
  "pipDependencies": ["apache-submarine==0.8.0"]}}
"""


CONFLICTS = """\
version = 1
[[package]]
name = "whales"
version = "1.0"
source = { virtual = "." }
[package.optional-dependencies]
cpu = [{ name = "torch", version = "2.0", marker = "extra == 'extra-6-whales-cpu'" }]
[[package]]
name = "torch"
version = "2.0"
source = { registry = "https://pypi.org/simple" }
"""


def read(tmp_path: Path, name: str, text: str) -> tuple[dict[str, Any], list[str]]:
    (tmp_path / name).write_text(text)
    found = read_environment_file(tmp_path / name)
    return found.body, found.notes


def test_requirements__lines_and_comments__are_the_requirements(tmp_path: Path) -> None:
    body, notes = read(tmp_path, "requirements.txt", REQUIREMENTS)
    assert body == {"pip": ["numpy>=2", "pandas==2.2.3", 'torch ; sys_platform == "linux"']}
    assert ["The sums of 1 requirement (--hash)" in note for note in notes] == [True]


def test_pyproject__dependencies__are_taken_and_the_rest_is_told(tmp_path: Path) -> None:
    body, notes = read(tmp_path, "pyproject.toml", PYPROJECT)
    assert body == {"pip": ["numpy>=2", "click"], "python": "3.11"}
    said = " ".join(notes)
    assert "optional-dependencies are left out: plots" in said
    assert "dependency-groups are left out: dev" in said
    assert "The project itself" in said


def test_uv_lock__of_a_project__is_pinned_with_its_conditions(tmp_path: Path) -> None:
    body, notes = read(tmp_path, "uv.lock", UV_LOCK)
    assert body["pip"] == [
        "click==8.1.0",
        "colorama==0.4.6 ; (sys_platform == 'win32')",
        "numpy==2.1.0 ; (python_full_version < '3.12')",
        "numpy==2.2.0 ; (python_full_version >= '3.12')",
        f"krill @ git+https://example.com/krill@{'a' * 40}",
        f"wheel-at @ https://example.com/wheel_at-1.0-py3-none-any.whl#sha256={SHA256}",
        "pytest==8.0.0",
    ]
    assert notes == [
        "whales itself is left out: it is the code of the run.",
        "requires-python >=3.11 names no one version: the server's own Python is taken unless you "
        "give --python.",
        "The index https://index.example/simple is left out: the server looks for these packages "
        "where its own configuration says, under the same names and versions.",
        "The sums of files are left out: the lock has those of the server's index, and every file "
        "is compared with them.",
    ]


def test_conda__channels_packages_and_pip__are_taken(tmp_path: Path) -> None:
    body, notes = read(tmp_path, "environment.yml", ENVIRONMENT_YML)
    assert body == {
        "name": "whales",
        "conda": {"channels": ["conda-forge"], "packages": ["python=3.11", "numpy >=2", "pip"]},
        "pip": ["krill==0.1", "torch"],
    }
    parse_environment(body)
    assert notes[0].startswith("nodefaults is left out")
    assert "OMP_NUM_THREADS" in notes[1]


@pytest.mark.parametrize("name", ["kernel.json", "kernel.yaml"])
def test_submarine__kernel_spec__is_taken_word_for_word(tmp_path: Path, name: str) -> None:
    body, _ = read(tmp_path, name, SUBMARINE)
    assert body == {
        "name": "team-ml",
        "image": "apache/submarine:jupyter",
        "description": "ours",
        "conda": {
            "channels": ["defaults"],
            "packages": ["_ipyw_jlab_nb_ext_conf=0.1.0=py37_0", "anaconda=2020.02=py37_0"],
        },
        "pip": ["apache-submarine==0.8.0"],
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("requirements.txt", "six\n-e .\n", r"requirements\.txt:2: \"-e \.\" is refused.*edited"),
        ("requirements.txt", "--index-url https://x\n", r":1: .*set on the server"),
        ("requirements.txt", "six\n\n-r more.txt\n", r":3: .*list the packages themselves"),
        ("pyproject.toml", '[project]\nname="x"\ndynamic=["dependencies"]\n', "uv lock"),
        ("pyproject.toml", "[tool.poetry.dependencies]\nsix='*'\n", "poetry export"),
        ("pyproject.toml", '[project]\ndependencies="six"\n', "must be a list of texts"),
        ("pyproject.toml", "[project]\n[tool.uv.sources]\nx={path='y'}\n", r"takes x.*uv lock"),
        ("requirements.txt", "six \\\n  --hash=a\n-e .\n", r"requirements\.txt:3: "),
        ("requirements.txt", "six\n-r \\\n\\\n  more.txt\n", r"requirements\.txt:2: "),
        ("requirements.txt", "six --config-settings=a=b\n", r':1: "--config-settings=a=b" is ref'),
        (
            "requirements.txt",
            "a @ https://h/${TOKEN}/a.whl\n",
            r":1: .*what \$\{TOKEN\} stands for",
        ),
        (
            "pyproject.toml",
            "[project]\n[tool.uv]\nconstraint-dependencies=['a<2']\nexclude-newer='2025'\n",
            "constraint-dependencies, exclude-newer, which only uv itself follows",
        ),
        (
            "uv.lock",
            'version=1\n[[package]]\nname="a"\nversion="1"\nsource={registry="../wheels"}\n',
            r"a comes from registry \.\./wheels",
        ),
        ("uv.lock", CONFLICTS, "torch depends on which extra or group is chosen"),
        ("environment.yml", "dependencies: [six]\ndependencies: [a]\n", r":2:1: .*second time"),
        ("pyproject.toml", "[project", "is not TOML"),
        ("pyproject.toml", "tool=3\n", "`tool` must be a mapping"),
        ("pyproject.toml", f"a={'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        ("environment.yml", f"a: {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        ("environment.yml", "dependencies:\n  - pip: x\n", ":2: `pip` must be a list: write each"),
        ("environment.yml", "dependencies:\n  - pip: {x: y}\n", ":2: `pip` must be a list"),
        ("environment.yml", "dependencies:\n  - pip: [[six]]\n", r':2: "a list.*is a text, as'),
        ("environment.yml", "dependencies: [six]\nname: 2001-99-99\n", "put it in quotes"),
        ("environment.yml", "<<: {dependencies: [six]}\n", ":1: `dependencies` must be a list"),
        ("pyproject.toml", "[build-system]\n", "is no file that says"),
        (
            "uv.lock",
            'version=1\n[[package]]\nname="a"\nversion="1"\nsource={directory="../a"}\n',
            r"a comes from directory \.\./a",
        ),
        ("uv.lock", "version=1\n[[package]]\nversion='1'\n", "not as uv writes it"),
        (
            "environment.yml",
            "dependencies:\n  - six\n  - pip:\n    - -e .\n",
            r"environment\.yml:4: .*edited",
        ),
        ("environment.yml", "dependencies: six\n", ":1: `dependencies` must be a list"),
        ("environment.yml", "dependencies:\n  - [six]\n", ":2: .*only `pip:`"),
        ("environment.yml", "dependencies: [six]\nchannels: x\n", "`channels` must be a list"),
        ("environment.yml", "a: b: c\n", r"environment\.yml:1:5"),
        ("environment.yml", "- six\n", "is no file that says"),
        ("spec.yaml", "environments:\n  name: x\n", "environment"),
        ("spec.yaml", "experiment:\n  name: x\n  command: y\n", "seafloor run -f"),
        (
            "kernel.json",
            '{"dockerImage": "x", "kernelSpec": {"pip": []}}',
            "no field kernelSpec.pip",
        ),
        ("kernel.json", '{"dockerImage": "x", "kernelSpec": "y"}', "must be a mapping"),
    ],
)
def test_file__with_what_cannot_be_kept__is_refused_with_the_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(SeafloorError, match=said):
        read(tmp_path, name, text)


def test_file__missing_or_no_text__is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_environment_file(tmp_path / "uv.lock")
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidValue, match="not UTF-8"):
        read_environment_file(tmp_path / "requirements.txt")


@pytest.mark.parametrize(
    "line", ["--index-url http://user:canary@x/", "-e git+https://user:canary@x/y.git"]
)
def test_read__a_refused_line_with_a_password__is_shown_without_it(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"{line}\nsix\n")
    with pytest.raises(InvalidValue, match="is refused") as caught:
        read_environment_file(path)
    assert "canary" not in str(caught.value)


def test_requirements__as_pip_reads_them__are_taken(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    text = "\ufeffsix\t# a comment\n#c \\\nx==1 \\\r\n ; python_version > '3'\n\ta#b\ny\t--hash=z\n"
    text += "last \\"
    path.write_bytes(text.encode())
    assert read_requirements(path).pip == [
        "six",
        "x==1   ; python_version > '3'",
        "a#b",
        "y",
        "last",
    ]


def test_conda__pip_of_nothing__is_nothing(tmp_path: Path) -> None:
    body, _ = read(tmp_path, "environment.yml", "dependencies:\n  - six\n  - pip:\n")
    assert body["pip"] == []


def test_uv_lock__part_of_a_repository__keeps_which_part(tmp_path: Path) -> None:
    text = f"""version = 1
[[package]]
name = "krill"
version = "0.1"
source = {{ git = "https://example.com/krill?subdirectory=py%2Fkrill&rev=main#{"a" * 40}" }}
[[package]]
name = "cod"
version = "0.1"
source = {{ url = "https://example.com/cod.zip", subdirectory = "py" }}
sdist = {{ hash = "sha256:{SHA256}" }}
[[package]]
name = "member"
version = "0.1"
source = {{ virtual = "members/one" }}
"""
    body, notes = read(tmp_path, "uv.lock", text)
    assert body["pip"] == [
        f"krill @ git+https://example.com/krill@{'a' * 40}#subdirectory=py/krill",
        f"cod @ https://example.com/cod.zip#sha256={SHA256}&subdirectory=py",
    ]
    assert notes == ["member is left out: it is no package, but a member of the project."]


def test_pyproject__settings_of_tools__are_told(tmp_path: Path) -> None:
    text = "[project]\nname='x'\n[tool.uv]\npackage=true\n[[tool.uv.index]]\nurl='https://x'\n"
    _, notes = read(tmp_path, "pyproject.toml", f"{text}[tool.poetry.dependencies]\nsix='*'\n")
    assert notes[0].startswith("tool.uv.index, tool.poetry: left out. Where packages come from")


def test_conda__what_says_nothing_of_packages__is_told(tmp_path: Path) -> None:
    text = "dependencies:\n- pip: [six]\nchannels: [a]\nprefix: /opt/x\nplatforms: [linux-64]\n"
    body, notes = read(tmp_path, "environment.yml", text)
    assert body == {"pip": ["six"]}
    assert notes == [
        "channels are left out: it has no packages of conda.",
        "prefix, platforms: left out, since they say nothing of what it holds.",
    ]
    _, notes = read(tmp_path, "environment.yml", "dependencies: [six]\nchannels: [nodefaults]\n")
    assert notes == ["It names no channels: conda-forge is taken."]


def test_submarine__names_that_have_no_place_here__are_told(tmp_path: Path) -> None:
    _, notes = read(tmp_path, "kernel.json", SUBMARINE.replace('"ours"', '"ours", "image": "x"'))
    assert notes[0].startswith("kernelSpec.name, image: left out")


def test_file__pipe__is_refused_at_once_and_requirements_come_through_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidValue, match=r"is a pipe or a device.*with -r"):
        read_environment_file(pipe)

    writer = subprocess.Popen(["sh", "-c", 'printf "six\nclick\n" > "$0"', pipe])
    assert read_requirements(pipe).pip == ["six", "click"]
    assert writer.wait() == 0


def test_requirements__device_without_end__is_refused() -> None:
    with pytest.raises(InvalidValue, match="too large"):
        read_requirements(Path("/dev/zero"))


def test_requirements__errors__name_the_file_and_no_option(tmp_path: Path) -> None:
    for text in (b"-e .", b"\xff", b"x" * 5_000_000):
        (tmp_path / "requirements.txt").write_bytes(text)
        with pytest.raises(InvalidValue, match=r"requirements\.txt") as caught:
            read_requirements(tmp_path / "requirements.txt")
        assert caught.value.field is None
