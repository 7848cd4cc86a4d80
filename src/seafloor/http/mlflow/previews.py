"""The beginning of what went into a call or came out of it: of a chat, its last message."""

from __future__ import annotations

import json
from typing import Any, cast

PREVIEW_CHARS_MAX = 1_000
_CHOICES, _REQUEST = "choices", "request"
_LISTS = ("messages", "input", "output")
_TEXT_PARTS = ("text", "output_text")


def preview(value: Any, *, role: str) -> str | None:
    """Make a preview.

    Args:
        value: Plain data, or a text that is JSON; None: there is none.
        role: Whose message of a chat.

    >>> preview({"messages": [{"role": "user", "content": "hi"}]}, role="user")
    'hi'
    >>> preview({"x": 1}, role="user")
    '{"x": 1}'
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    messages = _messages(_decoded(value))
    found = _text(_last(messages, role)) if messages else ""
    shown = (found or text).replace("\0", "\ufffd")
    if len(shown) <= PREVIEW_CHARS_MAX:
        return shown
    return shown[: PREVIEW_CHARS_MAX - 3] + "..."


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _messages(found: Any) -> list[dict[str, Any]]:
    """The messages of a chat, in the forms that OpenAI's libraries give it."""
    for _ in range(2):  # a request may stand within a request
        if not isinstance(found, dict):
            return []
        fields = cast(dict[str, Any], found)
        for name in _LISTS:
            if isinstance(fields.get(name), list) and fields[name]:
                return [one for one in fields[name] if _is_message(one)]
        choices = fields.get(_CHOICES)
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            message = cast(dict[str, Any], choices[0]).get("message")
            return [cast(dict[str, Any], message)] if _is_message(message) else []
        found = fields.get(_REQUEST)
    return []


def _is_message(found: Any) -> bool:
    return isinstance(found, dict) and "role" in found and "content" in found


def _last(messages: list[dict[str, Any]], role: str) -> dict[str, Any]:
    mine = [one for one in messages if one.get("role") == role]
    return (mine or messages)[-1]


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    for part in cast(list[Any], content) if isinstance(content, list) else []:
        if isinstance(part, str):
            return part
        if isinstance(part, dict) and cast(dict[str, Any], part).get("type") in _TEXT_PARTS:
            return str(cast(dict[str, Any], part).get("text") or "")
    return ""
