"""The messages of Caffe's files, without generated code, which would tie the package to one protobuf release.

Names and numbers are those of Caffe's public schema. These are the messages that are not one layer's: blobs, layers, and what
deployment files carry besides (fillers, learning rates, phases). Each layer adds the message of its own options, see
`_caffe_layers.SCHEMA`. OpenCV's FP16 blobs are ``raw_data``.
"""

from __future__ import annotations

from opencv_squeezedet.formats._schema import Schema

ENUMS = {
    "Phase": "TRAIN TEST",
    "Engine": "DEFAULT CAFFE CUDNN",
    "VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
    "RawType": "DOUBLE FLOAT FLOAT16 INT UINT",
    "V1Type": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT IM2COL "
    "IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT "
    "TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN "
    "ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION",
}
"""Names in the order of their numbers, from 0."""

MESSAGES = {
    "BlobShape": "1 dim int64*packed",
    "BlobProto": """
        1 num int32; 2 channels int32; 3 height int32; 4 width int32; 5 data float*packed; 6 diff float*packed;
        7 shape BlobShape; 8 double_data double*packed; 9 double_diff double*packed; 10 raw_data_type RawType;
        12 raw_data bytes""",
    "FillerParameter": """
        1 type string; 2 value float; 3 min float; 4 max float; 5 mean float; 6 std float; 7 sparse int32;
        8 variance_norm VarianceNorm""",
    "NetState": "1 phase Phase; 2 level int32; 3 stage string*",
    "NetStateRule": "1 phase Phase; 2 min_level int32; 3 max_level int32; 4 stage string*; 5 not_stage string*",
    "ParamSpec": "1 name string; 2 share_mode int32; 3 lr_mult float; 4 decay_mult float",
    "InputParameter": "1 shape BlobShape*",
    "LayerParameter": """
        1 name string; 2 type string; 3 bottom string*; 4 top string*; 5 loss_weight float*; 6 param ParamSpec*;
        7 blobs BlobProto*; 8 include NetStateRule*; 9 exclude NetStateRule*; 10 phase Phase; 11 propagate_down bool*;
        143 input_param InputParameter""",
    "V0LayerParameter": "1 name string",
    "V1LayerParameter": """
        1 layer V0LayerParameter; 2 bottom string*; 3 top string*; 4 name string; 5 type V1Type; 6 blobs BlobProto*;
        7 blobs_lr float*; 8 weight_decay float*; 32 include NetStateRule*; 33 exclude NetStateRule*; 35 loss_weight float*;
        1001 param string*""",
    "NetParameter": """
        1 name string; 2 layers V1LayerParameter*; 3 input string*; 4 input_dim int32*; 5 force_backward bool;
        6 state NetState; 7 debug_info bool; 8 input_shape BlobShape*; 100 layer LayerParameter*""",
}

WEIGHTS_SCHEMA = Schema(MESSAGES, ENUMS)
"""For a caffemodel without the options of its layers."""
