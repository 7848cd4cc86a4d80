"""How the outcomes of a program on two servers are compared."""

from __future__ import annotations

from typing import Any

from mlflow_agreement import in_order

_REFUSAL = {"class", "code", "message"}


def agree(theirs: Any, ours: Any) -> bool:
    """Whether two outcomes say the same; a refusal may go on after MLflow's sentence."""
    return not apart(theirs, ours)


def apart(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Where two outcomes differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        if theirs.keys() != _REFUSAL:
            return [one for k in theirs for one in apart(theirs[k], ours[k], f"{place}.{k}")]
        begins = in_order(ours["message"]).startswith(in_order(theirs["message"]).rstrip("."))
        if begins and all(theirs[name] == ours[name] for name in ("class", "code")):
            return []
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        pairs = enumerate(zip(theirs, ours, strict=True))
        return [one for at, pair in pairs for one in apart(*pair, f"{place}[{at}]")]
    elif theirs == ours:
        return []
    return [f"{place or 'outcome'}\n  mlflow:   {theirs}\n  seafloor: {ours}"]
