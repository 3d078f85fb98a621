"""Message classes and enums of etcd's API by their own names: ``messages.RangeRequest(key=b"a")``.

One rule: everything lives in a descriptor pool of its own. Two Python etcd clients cannot be imported into one
process because both register ``rpc.proto`` in protobuf's default pool; Atoll can be imported beside either.

The names are unique over the five packages, so a class is found by its short name; an enum's values are on the
class it belongs to (``RangeRequest.ASCEND``) and the enum without an owner, ``AlarmType``, is a name of its own.
The doubt: a class made at run time has no static type, so these are ``Any`` to the type checker; the conversions
in ``store`` and in the coordination plane's frontend are where that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from atoll.wire.etcd.table import TABLE

_Field = descriptor_pb2.FieldDescriptorProto

SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def statements(table: str) -> Iterator[list[str]]:
    """The table's logical lines as words, continuation lines joined to the line they continue."""
    words: list[str] = []
    for line in table.splitlines():
        if words and not line.startswith(" "):
            yield words
            words = []
        words += line.split()
    if words:
        yield words


class _Schema:
    """Turns the table into file descriptors, one file a package, in the order of the table."""

    def __init__(self, table: str) -> None:
        self.files: list[descriptor_pb2.FileDescriptorProto] = []
        self.package_of: dict[str, str] = {}  # message or enum, as the table names it -> its package
        self._enums: set[str] = set()
        self._messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._fields: list[tuple[str, list[str]]] = []
        for words in statements(table):
            self._declare(words)
        for message_name, fields in self._fields:
            for field in fields:
                self._add_field(message_name, field)

    def _declare(self, words: list[str]) -> None:
        kind = words[0]
        if kind == "package":
            file = descriptor_pb2.FileDescriptorProto(
                name=f"{words[1]}.proto", package=words[1], syntax="proto3"
            )
            file.dependency.extend(earlier.name for earlier in self.files)
            self.files.append(file)
        elif kind == "enum":
            self._declare_enum(words[1], words[2:])
        elif kind != "rpc":
            self._fields.append((kind, words[1:]))
            self._message(kind)

    def _message(self, name: str) -> descriptor_pb2.DescriptorProto:
        if name not in self._messages:
            file = self.files[-1]
            self._messages[name] = file.message_type.add(name=name)
            self.package_of[name] = file.package
        return self._messages[name]

    def _declare_enum(self, name: str, values: list[str]) -> None:
        owner, _, short = name.rpartition(".")
        enum = (
            self._message(owner).enum_type.add(name=short)
            if owner
            else self.files[-1].enum_type.add(name=short)
        )
        for value in values:
            value_name, _, number = value.partition("=")
            enum.value.add(name=value_name, number=int(number))
        self._enums.add(name)
        self.package_of[name] = self.files[-1].package

    def _add_field(self, message_name: str, text: str) -> None:
        """``[oneof|]name:type[*]=number``."""
        declaration, _, number = text.partition("=")
        oneof, _, rest = declaration.rpartition("|")
        name, _, type_name = rest.partition(":")
        message = self._messages[message_name]
        field = message.field.add(name=name, number=int(number))
        field.label = _Field.LABEL_REPEATED if type_name.endswith("*") else _Field.LABEL_OPTIONAL
        self._set_type(field, message_name, type_name.rstrip("*"))
        if oneof:
            oneofs = [declared.name for declared in message.oneof_decl]
            if oneof not in oneofs:
                oneofs.append(oneof)
                message.oneof_decl.add(name=oneof)
            field.oneof_index = oneofs.index(oneof)

    def _set_type(self, field: descriptor_pb2.FieldDescriptorProto, owner: str, type_name: str) -> None:
        if type_name in SCALARS:
            field.type = SCALARS[type_name]
            return
        nested = f"{owner}.{type_name}"
        full = nested if nested in self._enums else type_name
        field.type = _Field.TYPE_ENUM if full in self._enums else _Field.TYPE_MESSAGE
        field.type_name = f".{self.package_of[full]}.{full}"


def _load(table: str) -> dict[str, Any]:
    """All message classes and owner-less enums by short name."""
    schema = _Schema(table)
    pool = descriptor_pool.DescriptorPool()
    for file in schema.files:
        pool.AddSerializedFile(file.SerializeToString())
    loaded: dict[str, Any] = {}
    for file in schema.files:
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
            loaded[message.name] = message_factory.GetMessageClass(descriptor)
        for enum in file.enum_type:
            found = pool.FindEnumTypeByName(f"{file.package}.{enum.name}")
            loaded[enum.name] = enum_type_wrapper.EnumTypeWrapper(found)
    return loaded


BY_NAME: dict[str, Any] = _load(TABLE)
"""Every message class (and ``AlarmType``) by its short name."""


def __getattr__(name: str) -> Any:
    try:
        return BY_NAME[name]
    except KeyError:
        raise AttributeError(f"etcd 3.4's API has no message {name!r}") from None
