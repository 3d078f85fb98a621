"""A Flask application that registers itself, follows its configuration, and finds its neighbours.

PORT=8000 python examples/registry/flask_app.py
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import FrameType

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.serving import make_server

from atoll.client.blocking.registry import Options, Registry, open_registry
from atoll.resources.naming_api import InstanceOrder

NODES = os.environ.get("ATOLL_URL", "http://127.0.0.1:7070")
PORT = int(os.environ.get("PORT", "8000"))
SERVICE = "shop-flask"


def make_app(registry: Registry) -> Flask:
    app = Flask(__name__)
    settings = registry.follow_config("shop.json")
    neighbours = registry.follow_service(SERVICE)

    @app.get("/")
    def greet() -> ResponseReturnValue:
        """The value is always the newest: a thread of the client keeps it so."""
        content = settings.value.content if settings.value else None
        greeting = json.loads(content)["greeting"] if content else "nobody told me how to greet"
        return jsonify(greeting=greeting)

    @app.get("/neighbours")
    def list_neighbours() -> ResponseReturnValue:
        instances = neighbours.value.instances if neighbours.value else ()
        return jsonify([f"{each.ip}:{each.port}" for each in instances])

    return app


def stop(number: int, frame: FrameType | None) -> None:
    """Leave by the way on which the registration is taken back."""
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    cache = os.environ.get("ATOLL_CACHE")
    with open_registry(NODES, Options(app=SERVICE, cache=Path(cache) if cache else None)) as registry:
        server = make_server("127.0.0.1", PORT, make_app(registry), threaded=True)
        registry.register(InstanceOrder(SERVICE, "127.0.0.1", PORT, metadata={"framework": "flask"}))
        server.serve_forever()


if __name__ == "__main__":
    main()
