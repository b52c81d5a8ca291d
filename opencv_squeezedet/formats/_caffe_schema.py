"""The messages of Caffe's files, without generated code, which would tie the package to one protobuf release.

What the layers of `opencv_squeezedet.network` need is here, under the names and numbers of Caffe's public schema, and what
deployment files carry besides (fillers, learning rates, phases). OpenCV's FP16 blobs are ``raw_data``, Permute is SSD's.
"""

from __future__ import annotations

from opencv_squeezedet.formats._schema import Schema

_ENUMS = {
    "Phase": "TRAIN TEST",
    "Engine": "DEFAULT CAFFE CUDNN",
    "Pool": "MAX AVE STOCHASTIC",
    "Operation": "PROD SUM MAX",
    "RoundMode": "CEIL FLOOR",
    "RawType": "DOUBLE FLOAT FLOAT16 INT UINT",
    "V1Type": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT IM2COL "
    "IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT "
    "TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN "
    "ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION",
}
"""Names in the order of their numbers, from 0."""

_MESSAGES = {
    "BlobShape": "1 dim int64*packed",
    "BlobProto": """
        1 num int32; 2 channels int32; 3 height int32; 4 width int32; 5 data float*packed; 6 diff float*packed;
        7 shape BlobShape; 8 double_data double*packed; 9 double_diff double*packed; 10 raw_data_type RawType;
        12 raw_data bytes""",
    "FillerParameter": """
        1 type string; 2 value float; 3 min float; 4 max float; 5 mean float; 6 std float; 7 sparse int32;
        8 variance_norm string""",
    "NetState": "1 phase Phase; 2 level int32; 3 stage string*",
    "NetStateRule": "1 phase Phase; 2 min_level int32; 3 max_level int32; 4 stage string*; 5 not_stage string*",
    "ParamSpec": "1 name string; 2 share_mode int32; 3 lr_mult float; 4 decay_mult float",
    "ConvolutionParameter": """
        1 num_output uint32; 2 bias_term bool=true; 3 pad uint32*; 4 kernel_size uint32*; 5 group uint32=1; 6 stride uint32*;
        7 weight_filler FillerParameter; 8 bias_filler FillerParameter; 9 pad_h uint32; 10 pad_w uint32; 11 kernel_h uint32;
        12 kernel_w uint32; 13 stride_h uint32; 14 stride_w uint32; 15 engine Engine; 16 axis int32=1;
        17 force_nd_im2col bool; 18 dilation uint32*""",
    "PoolingParameter": """
        1 pool Pool; 2 kernel_size uint32; 3 stride uint32=1; 4 pad uint32; 5 kernel_h uint32; 6 kernel_w uint32;
        7 stride_h uint32; 8 stride_w uint32; 9 pad_h uint32; 10 pad_w uint32; 11 engine Engine; 12 global_pooling bool;
        13 round_mode RoundMode""",
    "ReLUParameter": "1 negative_slope float; 2 engine Engine",
    "SigmoidParameter": "1 engine Engine",
    "SoftmaxParameter": "1 engine Engine; 2 axis int32=1",
    "ConcatParameter": "1 concat_dim uint32; 2 axis int32=1",
    "SliceParameter": "1 slice_dim uint32; 2 slice_point uint32*; 3 axis int32=1",
    "DropoutParameter": "1 dropout_ratio float=0.5",
    "EltwiseParameter": "1 operation Operation=SUM; 2 coeff float*; 3 stable_prod_grad bool",
    "ReshapeParameter": "1 shape BlobShape; 2 axis int32; 3 num_axes int32=-1",
    "PermuteParameter": "1 order uint32*",
    "ShuffleChannelParameter": "1 group uint32=1",
    "InputParameter": "1 shape BlobShape*",
    "LayerParameter": """
        1 name string; 2 type string; 3 bottom string*; 4 top string*; 5 loss_weight float*; 6 param ParamSpec*;
        7 blobs BlobProto*; 8 include NetStateRule*; 9 exclude NetStateRule*; 10 phase Phase; 11 propagate_down bool*;
        104 concat_param ConcatParameter; 106 convolution_param ConvolutionParameter; 108 dropout_param DropoutParameter;
        110 eltwise_param EltwiseParameter; 121 pooling_param PoolingParameter; 123 relu_param ReLUParameter;
        124 sigmoid_param SigmoidParameter; 125 softmax_param SoftmaxParameter; 126 slice_param SliceParameter;
        133 reshape_param ReshapeParameter; 143 input_param InputParameter;
        164 shuffle_channel_param ShuffleChannelParameter; 202 permute_param PermuteParameter""",
    "V0LayerParameter": "1 name string",
    "V1LayerParameter": """
        1 layer V0LayerParameter; 2 bottom string*; 3 top string*; 4 name string; 5 type V1Type; 6 blobs BlobProto*;
        7 blobs_lr float*; 8 weight_decay float*; 32 include NetStateRule*; 33 exclude NetStateRule*; 35 loss_weight float*;
        1001 param string*; 9 concat_param ConcatParameter; 10 convolution_param ConvolutionParameter;
        12 dropout_param DropoutParameter; 24 eltwise_param EltwiseParameter; 19 pooling_param PoolingParameter;
        30 relu_param ReLUParameter; 38 sigmoid_param SigmoidParameter; 39 softmax_param SoftmaxParameter;
        31 slice_param SliceParameter""",
    "NetParameter": """
        1 name string; 2 layers V1LayerParameter*; 3 input string*; 4 input_dim int32*; 5 force_backward bool;
        6 state NetState; 7 debug_info bool; 8 input_shape BlobShape*; 100 layer LayerParameter*""",
}

SCHEMA = Schema(_MESSAGES, _ENUMS)
"""What prototxt and caffemodel are read and written by."""
