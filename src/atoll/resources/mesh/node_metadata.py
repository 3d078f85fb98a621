"""What a client of the mesh says of itself in xDS's ``node``, in both directions.

Rule: what Atoll starts puts its whole ``Client`` under the key ``atoll`` of the node's metadata, as plain JSON values;
the node's id, ``KIND~SERVICE.NAMESPACE~INSTANCE``, says the same of kind, service and namespace, and a node whose two
halves disagree is refused, because its certificate is checked against the id. A client that was not started by Atoll
needs only the id (gRPC's bootstrap, a hand-written Envoy's); everything else then has its default.

A protobuf ``Struct`` has no integers: whole numbers come back as floats, and are taken as what the field wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.services import Locality

KEY = "atoll"

_FORM = "KIND~SERVICE.NAMESPACE~INSTANCE with KIND one of " + ", ".join(Kind)


class NodeId(msgspec.Struct, frozen=True):
    kind: Kind
    service: str
    namespace: str
    instance: str

    def __str__(self) -> str:
        return f"{self.kind}~{self.service}.{self.namespace}~{self.instance}"


def node_id(client: Client, instance: str) -> str:
    return str(NodeId(client.kind, client.service, client.namespace, instance))


def parse_node_id(text: str) -> NodeId:
    """Raises INVALID for what is no such id."""
    kind, _, rest = text.partition("~")
    name, _, instance = rest.partition("~")
    service, _, namespace = name.rpartition(".")
    if kind not in set(Kind) or not service or not namespace or not instance:
        raise AtollError(Code.INVALID, f"node.id {text!r} says not who it is: it must be {_FORM}")
    return NodeId(Kind(kind), service, namespace, instance)


def metadata_of(client: Client) -> dict[str, Any]:
    """The metadata that tells ``client``, without what is as by default."""
    plain = {
        field.name: value
        for field in msgspec.structs.fields(client)
        if (value := getattr(client, field.name)) != field.default
    }
    built: dict[str, Any] = msgspec.to_builtins(plain)
    if "extensions" in built:
        built["extensions"] = sorted(built["extensions"])
    return {KEY: built}


def client_of(identifier: str, metadata: Mapping[str, Any], locality: Locality) -> Client:
    """Who ``node.id`` with this ``node.metadata`` and ``node.locality`` is. Raises INVALID."""
    told = parse_node_id(identifier)
    plain = metadata.get(KEY)
    if plain is None:
        return Client(told.kind, told.service, told.namespace, locality=locality)
    try:
        client = msgspec.convert(_whole(plain), Client)
    except msgspec.ValidationError as error:
        raise AtollError(Code.INVALID, f"node.metadata.{KEY} of {identifier}: {error}") from error
    said = (client.kind, client.service, client.namespace)
    if said != (told.kind, told.service, told.namespace):
        text = f"node.id is {identifier}, but node.metadata.{KEY} says {said[0]}~{said[1]}.{said[2]}: they must agree"
        raise AtollError(Code.INVALID, text)
    return client


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return value
