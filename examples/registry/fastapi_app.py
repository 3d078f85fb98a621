"""A FastAPI application that registers itself, follows its configuration, and finds its neighbours.

PORT=8000 python examples/registry/fastapi_app.py
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

from atoll.client.registry import Options, open_registry
from atoll.resources.naming_api import InstanceOrder

NODES = os.environ.get("ATOLL_URL", "http://127.0.0.1:7070")
PORT = int(os.environ.get("PORT", "8000"))
SERVICE = "shop-fastapi"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    cache = os.environ.get("ATOLL_CACHE")
    options = Options(app=SERVICE, cache=Path(cache) if cache else None)
    async with open_registry(NODES, options) as registry:
        app.state.settings = await registry.follow_config("shop.json")
        app.state.neighbours = await registry.follow_service(SERVICE)
        await registry.register(InstanceOrder(SERVICE, "127.0.0.1", PORT, metadata={"framework": "fastapi"}))
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def greet(request: Request) -> dict[str, str]:
    """The value is always the newest: reading it is a look into memory."""
    content = request.app.state.settings.value.content
    return {"greeting": json.loads(content)["greeting"] if content else "nobody told me how to greet"}


@app.get("/neighbours")
async def neighbours(request: Request) -> list[str]:
    return [f"{each.ip}:{each.port}" for each in request.app.state.neighbours.value.instances]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
