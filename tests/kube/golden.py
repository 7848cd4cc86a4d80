"""The manifests of every case as files: ``python -m tests.kube.golden`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from tests.kube.cases import cases

from seafloor.launch.kubernetes.manifest import as_yaml

FOLDER = Path(__file__).parent / "golden"


def main() -> None:
    """Write the files, and remove those of cases that are no more."""
    made = {f"{case.name}.yaml": as_yaml(case.render().manifests) for case in cases()}
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.yaml"):
        if file.name not in made:
            file.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
