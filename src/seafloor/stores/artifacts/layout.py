"""Where artifacts lie in the object store: the published layout (``docs/formats/layout.md``)."""

from __future__ import annotations

import hashlib
import re

from seafloor.domain.errors import InvalidValue

_WORKLOAD = re.compile(r"[0-9a-f]{32}\Z")
_MODEL = re.compile(r"m-[0-9a-f]{32}\Z")
_TRACE = re.compile(r"t-[0-9a-f]{32}\Z")


class ArtifactLayout:
    """Layout version 1: from an owner to keys.

    An owner is a workload id, or ``m-`` and 32 hex digits of a logged model, or ``t-`` and 32 hex
    digits of a trace.
    """

    def owner_folder(self, owner: str) -> str:
        """The folder of everything that one owner keeps.

        Raises:
            InvalidValue: the owner is none of these.

        >>> ArtifactLayout().owner_folder("0192f0c1d2e37a4b8c5d6e7f80910a1b")
        'runs/0192f0c1d2e37a4b8c5d6e7f80910a1b'
        """
        if _WORKLOAD.match(owner):
            return f"runs/{owner}"
        if _MODEL.match(owner):
            return f"models/logged/{owner}"
        if _TRACE.match(owner):
            return f"traces/{owner}"
        raise InvalidValue(
            "Artifacts belong to a workload (32 lower-case hex digits), a logged model "
            '("m-" and 32 lower-case hex digits) or a trace ("t-" and 32 of them).',
            field="owner",
        )

    def artifact_key(self, owner: str, path: str) -> str:
        """The key of one file, or of a folder of files."""
        return f"{self.owner_folder(owner)}/artifacts/{path}"

    def artifacts_folder(self, owner: str) -> str:
        """The folder of all files."""
        return f"{self.owner_folder(owner)}/artifacts"

    def manifest_key(self, owner: str) -> str:
        """The manifest, beside the folder, so that no file of a user's can be in its place."""
        return f"{self.owner_folder(owner)}/manifest.json"

    def replacements_folder(self, owner: str) -> str:
        """The folder of the notes that files are being replaced."""
        return f"{self.owner_folder(owner)}/replacements"

    def replacement_key(self, owner: str, path: str) -> str:
        """The note that a file is being replaced."""
        name = hashlib.sha256(path.encode()).hexdigest()
        return f"{self.replacements_folder(owner)}/{name}.json"
