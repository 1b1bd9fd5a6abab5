"""Why a request is refused, as problem documents name it [RFC 9457].

Reasons that [DAP] has are named as there; it asks that no others be put into its namespace.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from secagg.errors import RequestRefused

__all__ = ["PROBLEM_TYPE", "Problem", "document", "refusal", "refusal_of"]

PROBLEM_TYPE = "application/problem+json"
_DAP = "urn:ietf:params:ppm:dap:error:"
_OWN = "tag:secagg,2026:"


class Problem(Enum):
    """Name, status and namespace."""

    INVALID = ("invalidMessage", 400, _DAP)
    UNKNOWN_TASK = ("unrecognizedTask", 404, _DAP)
    UNKNOWN_RESOURCE = ("unrecognizedResource", 404, _OWN)
    METHOD = ("methodNotAllowed", 405, _OWN)
    SLOW = ("requestTimeout", 408, _OWN)
    REPLAYED = ("reportReplayed", 409, _OWN)
    CLOSED = ("roundClosed", 409, _OWN)
    ENDED = ("roundEnded", 409, _OWN)
    TOO_LARGE = ("messageTooLarge", 413, _OWN)
    MEDIA_TYPE = ("unsupportedMediaType", 415, _OWN)
    FAILED = ("internalError", 500, _OWN)
    STORE = ("storeFailed", 507, _OWN)

    def __init__(self, name: str, status: int, namespace: str) -> None:
        self.token = name
        self.status = status
        self.uri = namespace + name


_BY_URI = {problem.uri: problem for problem in Problem}
_BY_TOKEN = {problem.token: problem for problem in Problem}


def refusal(problem: Problem, detail: str) -> RequestRefused:
    """The error that becomes this problem in an answer."""
    return RequestRefused(problem.token, detail)


def document(error: RequestRefused, task: str) -> tuple[int, dict[str, Any]]:
    """Status and problem document for an error of `refusal`. task: "" where none is known."""
    problem = _BY_TOKEN[error.problem]
    shown = {"type": problem.uri, "status": problem.status, "detail": error.detail}
    return problem.status, {**shown, "taskid": task} if task else shown


def refusal_of(status: int, found: Any) -> RequestRefused:
    """The error for an answer with a problem document, or with something else in its place."""
    kind = found.get("type") if isinstance(found, dict) else None
    if isinstance(kind, str) and kind in _BY_URI:
        return refusal(_BY_URI[kind], _shown(str(found.get("detail", ""))[:1000]))
    return RequestRefused("unexpectedAnswer", f"status {status}, without a reason that is known")


def _shown(detail: str) -> str:
    """A peer's text without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in detail)
