"""Sounds: from arrays to WAV, and what the bytes of a file say of itself."""

from __future__ import annotations

import array
import math
import sys
import wave
from io import BytesIO
from typing import Any, Final

from seafloor.domain.errors import InvalidValue
from seafloor.domain.media import Audio, BlobFormat
from seafloor.sdk.arrays import array_of

_CHANNELS_MAX: Final = 64
_RATE_MAX: Final = (1 << 31) - 1
_PEAK: Final = 32_767


def sound_of(audio: object, sample_rate: int | None) -> tuple[Audio, BlobFormat, bytes]:
    """Make the bytes of a sound.

    Args:
        audio: Bytes of a WAV, MP3, Ogg or FLAC file; or samples, as ``Run.log_audio`` says.
        sample_rate: Of samples, Hz.

    Raises:
        InvalidValue: it is none of these, or the rate is missing or none.
    """
    if isinstance(audio, bytes | bytearray):
        return _of_bytes(bytes(audio))
    if sample_rate is None or not 1 <= sample_rate <= _RATE_MAX:
        raise InvalidValue("Samples need a sample_rate, in Hz.", field="sample_rate")
    found = array_of(audio)
    if found is not None:
        return _of_array(found, sample_rate)
    if isinstance(audio, list | tuple):
        numbers: list[Any] = [*audio]
        return _of_numbers(numbers, sample_rate)
    raise InvalidValue(
        f"A {type(audio).__name__} is no sound: give samples, a path or the bytes of a file.",
        field="audio",
    )


def _of_bytes(content: bytes) -> tuple[Audio, BlobFormat, bytes]:
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return _said_by(content), "wav", content
    if content.startswith(b"fLaC"):
        return Audio(), "flac", content
    if content.startswith(b"OggS"):
        return Audio(), "ogg", content
    if content.startswith(b"ID3") or (content[:1] == b"\xff" and content[1:2] >= b"\xe0"):
        return Audio(), "mp3", content
    raise InvalidValue(
        "These bytes are no WAV, MP3, Ogg or FLAC: log other files as artifacts.", field="audio"
    )


def _said_by(content: bytes) -> Audio:
    """What a WAV says of itself; nothing where it is of a kind that is not known here."""
    try:
        with wave.open(BytesIO(content)) as file:
            rate, channels, frames = file.getframerate(), file.getnchannels(), file.getnframes()
    except (wave.Error, EOFError):
        return Audio()
    if not (rate and channels):
        return Audio()
    return Audio(rate, channels, frames * 1000 // rate)


def _of_array(found: Any, sample_rate: int) -> tuple[Audio, BlobFormat, bytes]:
    import numpy as np

    if found.ndim == 1:
        found = found[:, None]
    if found.ndim == 2 and found.shape[0] < found.shape[1] and found.shape[0] <= _CHANNELS_MAX:
        found = found.T  # (channels, samples), as torch has it
    if found.ndim != 2 or not 1 <= found.shape[1] <= _CHANNELS_MAX:
        raise InvalidValue(
            f"An array of the shape {tuple(found.shape)} is no sound: it is (samples,), "
            "(samples, channels) or (channels, samples).",
            field="audio",
        )
    if found.dtype.kind == "f":
        clean = np.nan_to_num(np.clip(found.astype(np.float64), -1.0, 1.0), nan=0.0)
        samples = np.rint(clean * _PEAK).astype("<i2")
    elif found.dtype == np.int16:
        samples = found.astype("<i2")
    elif found.dtype == np.int32:
        samples = (found >> 16).astype("<i2")
    elif found.dtype == np.uint8:
        samples = (found.astype(np.int16) - 128 << 8).astype("<i2")
    else:
        raise InvalidValue(
            f"Samples are floats of -1 to 1, int16, int32 or uint8, not {found.dtype}.",
            field="audio",
        )
    return _written(samples.tobytes(), int(found.shape[1]), sample_rate)


def _of_numbers(numbers: list[Any], sample_rate: int) -> tuple[Audio, BlobFormat, bytes]:
    try:
        floats = [float(number) for number in numbers]
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"Samples are numbers of -1 to 1: {error}.", field="audio") from error
    clean = (0.0 if math.isnan(one) else max(-1.0, min(1.0, one)) for one in floats)
    samples = array.array("h", (round(one * _PEAK) for one in clean))
    if sys.byteorder == "big":
        samples.byteswap()
    return _written(samples.tobytes(), 1, sample_rate)


def _written(samples: bytes, channels: int, sample_rate: int) -> tuple[Audio, BlobFormat, bytes]:
    written = BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples)
    duration_ms = len(samples) // (2 * channels) * 1000 // sample_rate
    return Audio(sample_rate, channels, duration_ms), "wav", written.getvalue()
