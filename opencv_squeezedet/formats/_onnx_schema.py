"""The messages of ONNX files, under the names and numbers of the public schema; what no reader here looks into is bytes."""

from __future__ import annotations

from opencv_squeezedet.formats._schema import Schema

SCHEMA = Schema(
    {
        "ModelProto": """
            1 ir_version int64; 2 producer_name string; 7 graph GraphProto; 8 opset_import OperatorSetIdProto*;
            20 training_info TrainingInfoProto*; 25 functions FunctionProto*""",
        "OperatorSetIdProto": "1 domain string; 2 version int64",
        "GraphProto": """
            1 node NodeProto*; 2 name string; 5 initializer TensorProto*; 11 input ValueInfoProto*; 12 output ValueInfoProto*;
            13 value_info ValueInfoProto*; 15 sparse_initializer SparseTensorProto*""",
        "NodeProto": "1 input string*; 2 output string*; 3 name string; 4 op_type string; 5 attribute AttributeProto*; "
        "7 domain string",
        "AttributeProto": """
            1 name string; 2 f float; 3 i int64; 4 s bytes; 5 t TensorProto; 6 g GraphProto; 7 floats float*; 8 ints int64*;
            9 strings bytes*; 10 tensors TensorProto*; 11 graphs GraphProto*; 14 tp bytes; 15 type_protos bytes*;
            20 type int32; 21 ref_attr_name string; 22 sparse_tensor SparseTensorProto;
            23 sparse_tensors SparseTensorProto*""",
        "TensorProto": """
            1 dims int64*; 2 data_type int32; 3 segment bytes; 4 float_data float*; 5 int32_data int32*array;
            6 string_data bytes*; 7 int64_data int64*array; 8 name string; 9 raw_data bytes; 10 double_data double*;
            11 uint64_data int64*array; 13 external_data StringStringEntryProto*; 14 data_location int32""",
        "SparseTensorProto": "1 values TensorProto; 2 indices TensorProto",
        "FunctionProto": "7 node NodeProto*; 11 attribute_proto AttributeProto*",
        "TrainingInfoProto": "1 initialization GraphProto; 2 algorithm GraphProto",
        "StringStringEntryProto": "1 key string; 2 value string",
        "ValueInfoProto": "1 name string; 2 type TypeProto",
        "TypeProto": """
            1 tensor_type TensorTypeProto; 4 sequence_type bytes; 5 map_type bytes; 7 opaque_type bytes;
            8 sparse_tensor_type bytes; 9 optional_type bytes""",
        "TensorTypeProto": "1 elem_type int32; 2 shape TensorShapeProto",
        "TensorShapeProto": "1 dim DimensionProto*",
        "DimensionProto": "1 dim_value int64; 2 dim_param string",
    }
)
