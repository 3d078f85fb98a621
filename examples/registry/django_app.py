"""A Django application in one file that registers itself, follows its configuration, and finds its neighbours.

PORT=8000 python examples/registry/django_app.py
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import FrameType
from wsgiref.simple_server import make_server

import django
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from atoll.client.blocking.registry import Options, Registry, open_registry
from atoll.resources.naming_api import InstanceOrder

NODES = os.environ.get("ATOLL_URL", "http://127.0.0.1:7070")
PORT = int(os.environ.get("PORT", "8000"))
SERVICE = "shop-django"


class Views:
    """What the application answers."""

    def __init__(self, registry: Registry) -> None:
        self._settings = registry.follow_config("shop.json")
        self._neighbours = registry.follow_service(SERVICE)

    def greet(self, request: HttpRequest) -> JsonResponse:
        """The value is always the newest: a thread of the client keeps it so."""
        content = self._settings.value.content if self._settings.value else None
        return JsonResponse(
            {"greeting": json.loads(content)["greeting"] if content else "nobody told me how to greet"}
        )

    def neighbours(self, request: HttpRequest) -> JsonResponse:
        instances = self._neighbours.value.instances if self._neighbours.value else ()
        return JsonResponse([f"{each.ip}:{each.port}" for each in instances], safe=False)


class Urls:
    """What Django calls a module of URLs."""

    def __init__(self, views: Views) -> None:
        self.urlpatterns = [path("", views.greet), path("neighbours", views.neighbours)]


def stop(number: int, frame: FrameType | None) -> None:
    """Leave by the way on which the registration is taken back."""
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    cache = os.environ.get("ATOLL_CACHE")
    with open_registry(NODES, Options(app=SERVICE, cache=Path(cache) if cache else None)) as registry:
        django_settings.configure(ROOT_URLCONF=Urls(Views(registry)), ALLOWED_HOSTS=["127.0.0.1"])
        django.setup()
        server = make_server("127.0.0.1", PORT, get_wsgi_application())
        registry.register(InstanceOrder(SERVICE, "127.0.0.1", PORT, metadata={"framework": "django"}))
        server.serve_forever()


if __name__ == "__main__":
    main()
