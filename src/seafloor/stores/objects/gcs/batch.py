"""Many deletions in one request."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from email import message_from_bytes, policy

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.errors import Answer, refusal

BATCH_CALLS_MAX = 100
"""What the API takes at once."""

_RIGHT = "storage.objects.delete"


async def delete_batch(client: GcsClient, keys: Sequence[str]) -> int:
    """Delete up to BATCH_CALLS_MAX objects; return how many there were.

    Raises:
        StoreUnavailable: some may be gone. Safe to repeat.
    """
    boundary = f"seafloor-{uuid.uuid4().hex}"
    parts = [
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n"
        f"DELETE {client.object_url(key).removeprefix(client.endpoint)} HTTP/1.1\r\n"
        "Content-Length: 0\r\n\r\n\r\n"
        for number, key in enumerate(keys)
    ]
    response = await client.call(
        Call(
            "POST",
            f"{client.endpoint}/batch/storage/v1",
            _RIGHT,
            headers={"Content-Type": f"multipart/mixed; boundary={boundary}"},
            body=f"{''.join(parts)}--{boundary}--\r\n".encode(),
            is_of_bucket=False,
        )
    )
    answers = _answers(response)
    if len(answers) != len(keys):
        raise StoreUnavailable(
            f"Google Cloud Storage answered {len(answers)} of {len(keys)} deletions: repeat.",
        )
    if any(answer.status == 404 for answer in answers):
        await client.check_bucket()
    for answer in answers:
        if not answer.is_success and answer.status != 404:
            raise refusal(answer, client.bucket, _RIGHT)
    return sum(answer.is_success for answer in answers)


def _answers(response: Answer) -> list[Answer]:
    """Take an answer of several parts apart; each is an answer of HTTP."""
    head = f"Content-Type: {response.headers.get('Content-Type', '')}\r\n\r\n".encode()
    whole = message_from_bytes(head + response.content, policy=policy.HTTP)
    found: list[Answer] = []
    for part in whole.iter_parts() if whole.is_multipart() else ():
        raw = part.get_payload(decode=True)
        if not isinstance(raw, bytes):
            continue
        line, _, rest = raw.lstrip().partition(b"\n")
        words = line.split(None, 2)
        if len(words) < 2 or not words[1].isdigit():
            continue
        message = message_from_bytes(rest, policy=policy.HTTP)
        body = message.get_payload(decode=True)
        found.append(Answer(int(words[1]), message, body if isinstance(body, bytes) else b""))
    return found
