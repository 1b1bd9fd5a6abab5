"""The sample API, in a process of its own: one application behind twenty gateways.

    python -m apiwatch.demo.api FOLDER

Each gateway is a port with its own middleware, profile, record and alerts in FOLDER. Once all of
them listen, FOLDER/ports.json names them. Clients stand behind a proxy that names their addresses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path

import uvicorn
from prometheus_client import make_asgi_app
from protocols.files import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from apiwatch.asgi import Application, Middleware, Receive, Send
from apiwatch.asgi_body import Scope
from apiwatch.demo.files import METRICS, SITES, site_file
from apiwatch.metrics import Metrics
from apiwatch.policy import Level, Mode, Policy
from apiwatch.sinks import AlertFile, Recorder
from apiwatch.watch import Watcher

__all__ = ["Gateways", "application"]

_JUDGED = frozenset({"user-agent", "content-type"})


async def _items(request: Request) -> JSONResponse:
    page = request.query_params.get("page", "1")
    return JSONResponse({"page": page, "items": [{"id": i, "name": "lamp"} for i in range(3)]})


async def _item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["item"], "name": "lamp", "price": 12})


async def _search(request: Request) -> JSONResponse:
    return JSONResponse({"asked": request.query_params.get("q", ""), "found": []})


async def _order(request: Request) -> JSONResponse:
    return JSONResponse({"taken": sorted(await request.json())}, status_code=201)


async def _user(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.path_params["user"]})


async def _login(request: Request) -> JSONResponse:
    return JSONResponse({"size": len(await request.body())})


def application() -> Starlette:
    """A small shop; it looks at nothing that it is sent."""
    return Starlette(
        routes=[
            Route("/items", _items),
            Route("/items/{item}", _item),
            Route("/stock/{item}", _item),
            Route("/search", _search),
            Route("/orders", _order, methods=["POST"]),
            Route("/users/{user}", _user),
            Route("/login", _login, methods=["POST"]),
        ]
    )


class Gateways:
    """Sends each request to the middleware of the port that it came to; METRICS to its counts."""

    def __init__(self, folder: Path, app: Application, sites: dict[int, int]) -> None:
        self._sites = {port: _gateway(folder, app, site) for port, site in sites.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the server."""
        gateway, metrics = self._sites[scope["server"][1]]
        await (metrics if scope["path"] == METRICS else gateway)(scope, receive, send)


def _gateway(folder: Path, app: Application, site: int) -> tuple[Application, Application]:
    metrics = Metrics()
    policy = Policy(mode=Mode.BLOCK, act_from=Level.FEW)
    watcher = Watcher(site_file(folder, site, "profile"), policy=policy, meter=metrics)
    gateway = Middleware(
        app,
        watcher=watcher,
        sink=AlertFile(site_file(folder, site, "alerts")),
        record=Recorder(site_file(folder, site, "log")),
        headers=_JUDGED,
    )
    return gateway, make_asgi_app(metrics.registry)


async def _serve(folder: Path) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(SITES)]
    ports = {listener.getsockname()[1]: site for site, listener in enumerate(sockets, 1)}
    gateways = Gateways(folder, application(), ports)
    config = uvicorn.Config(
        gateways,
        lifespan="off",
        access_log=False,
        log_level=logging.WARNING,
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
    )
    server = uvicorn.Server(config)
    replace(folder / "ports.json", json.dumps({s: p for p, s in ports.items()}).encode())
    await server.serve(sockets=sockets)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
