"""What both servers have in common: resources, health, and errors as problem documents."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from protocols.serve.log import Log
from protocols.serve.problem import PROBLEM_TYPE, Problem, document, refusal
from secagg.errors import DecodeError, RequestRefused, StoreFailed

__all__ = ["Handler", "Lifespan", "app_of"]

Handler = Callable[[Request], Awaitable[Response]]
Lifespan = (
    Callable[[Starlette], AbstractAsyncContextManager[None]]
    | Callable[[Starlette], AsyncIterator[None]]
)


def app_of(posts: Mapping[str, Handler], log: Log, lifespan: Lifespan) -> Starlette:
    """A server whose resources are `posts`, by the end of their path, and `/health`."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def refused(request: Request, error: Exception) -> Response:
        return _problem(request, _refusal_of(error), log)

    routes = [Route("/health", health, methods=["GET"])]
    routes += [
        Route(f"/tasks/{{task}}/{name}", _logged(handler, log), methods=["POST"])
        for name, handler in posts.items()
    ]
    kinds = (RequestRefused, DecodeError, StoreFailed, HTTPException)
    return Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys(kinds, refused),
        lifespan=lifespan,  # type: ignore[arg-type]
    )


def _logged(handler: Handler, log: Log) -> Handler:
    async def answer(request: Request) -> Response:
        start = time.perf_counter()
        response = await handler(request)
        log(
            "answered",
            resource=request.url.path.rpartition("/")[2],
            task=request.path_params["task"],
            seconds=round(time.perf_counter() - start, 4),
        )
        return response

    return answer


def _refusal_of(error: Exception) -> RequestRefused:
    match error:
        case RequestRefused():
            return error
        case DecodeError():
            return refusal(Problem.INVALID, f"{error}; compare plan, roster and key of both sides")
        case StoreFailed():
            return refusal(Problem.STORE, "nothing could be stored, nothing was taken: try later")
        case HTTPException(status_code=405):
            return refusal(Problem.METHOD, "this resource takes POST; /health takes GET")
    return refusal(Problem.UNKNOWN_RESOURCE, "there is nothing here; see the specification")


def _problem(request: Request, error: RequestRefused, log: Log) -> Response:
    task = str(request.path_params.get("task", ""))[:43]
    status, shown = document(error, task)
    log("refused", problem=error.problem, detail=error.detail, task=task)
    # the rest of a refused body is not waited for
    headers = {"connection": "close"}
    return JSONResponse(shown, status_code=status, media_type=PROBLEM_TYPE, headers=headers)
