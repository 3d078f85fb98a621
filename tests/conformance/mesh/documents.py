"""Policy documents for tests, written as in a file of YAML but without its envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.resources.mesh.documents.kinds import FORMS, Document, DocumentKey, Kind
from atoll.resources.records import NOTHING

DIGEST = "0badcafe"


def document(
    kind: Kind,
    name: str,
    spec: Mapping[str, Any],
    namespace: str = "default",
    annotations: Mapping[str, str] = NOTHING,
) -> Document[Any]:
    parsed = msgspec.convert(spec, FORMS[kind].spec)
    return Document(DocumentKey(kind, namespace, name), parsed, DIGEST, annotations=annotations)
