"""Caffe's messages as classes of protobuf's own library: what reads and writes the same files independently."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from opencv_squeezedet.formats._caffe_layers import SCHEMA
from opencv_squeezedet.formats._schema import Field

_PACKAGE = "opencv_squeezedet.caffe"


@cache
def net_parameter() -> Any:
    """The class of NetParameter. Each enum is in a message of its own name, as protobuf's scopes want."""
    file = descriptor_pb2.FileDescriptorProto(name="opencv_squeezedet/caffe.proto", package=_PACKAGE, syntax="proto2")
    for name, values in SCHEMA.enums.items():
        enum = file.message_type.add(name=f"{name}Scope").enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in SCHEMA.fields.items():
        message = file.message_type.add(name=name)
        for entry in fields.values():
            _add_field(message, entry)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.NetParameter"))


def _add_field(message: Any, entry: Field) -> None:
    field = message.field.add(name=entry.name, number=entry.number)
    field.label = field.LABEL_REPEATED if entry.repeated else field.LABEL_OPTIONAL
    if entry.kind in SCHEMA.enums:
        field.type, field.type_name = field.TYPE_ENUM, f".{_PACKAGE}.{entry.kind}Scope.{entry.kind}"
    elif entry.kind in SCHEMA.fields:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{entry.kind}"
    else:
        field.type = getattr(field, f"TYPE_{entry.kind.upper()}")
    if entry.packed:
        field.options.packed = True
    if entry.declared:
        field.default_value = entry.declared
