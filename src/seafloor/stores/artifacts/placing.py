"""Putting the bytes of a file at its key, with what is refused said of its path."""

from __future__ import annotations

from seafloor.domain.errors import Conflict, LimitExceeded
from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.artifacts.intake import Intake
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore


async def put_object(objects: ObjectStore, key: str, path: str, intake: Intake) -> ObjectInfo:
    """Put an object whole; nothing of it is visible when this raises a ``CallerError``.

    Raises:
        Conflict: the path is a folder, or a part of it is a file.
        LimitExceeded: the object store takes no key that long.
        InvalidValue: the bytes are not what was announced.
    """
    try:
        return await objects.put(key, intake.stream())
    except Conflict as error:
        raise Conflict(
            f'"{path}" cannot be kept: it is a folder, or a part of it is a file. '
            "Choose another path, or delete what is there.",
            field="path",
        ) from error
    except LimitExceeded as error:
        if error.field != "key":  # what the body says is his who sends it
            raise
        taken_bytes = len(key.encode()) - len(path.encode())
        raise LimitExceeded(
            f"This path has {len(path.encode())} bytes, and the object store has "
            f"{PATH_BYTES_MAX} for a whole key, of which the folder of the run takes "
            f"{taken_bytes} and the store's own folder, if it has one, some more. Shorten it.",
            field="path",
        ) from error
