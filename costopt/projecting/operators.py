"""What each operator of ONNX and of ONNX Runtime's own domain does, in classes that take time for like reasons.

    class          what its time goes with                              operators
    conv           multiply-adds on weights that are used again         Conv, QLinearConv, FusedConv ...
    depthwise      the same with a group for each channel
    matmul         multiply-adds, or the reading of its weights         Gemm, MatMul, QGemm, Attention, LSTM ...
    light          bytes, in the order in which they lie                Add, Relu, Concat, Gather ...
    strided        bytes, in another order                              Transpose, Resize ...
    heavy          operations, tens an element                          Gelu, Tanh, Exp ...
    rowwise        operations, and a start for each row                 Softmax, LayerNormalization, ReduceMean ...
    residual_norm  the same as one fused node, which is many times slower   SkipLayerNormalization
    pool           operations of its windows                            MaxPool, AveragePool
    quantize       elements that change their format                    QuantizeLinear, DynamicQuantizeLinear ...
    free           nothing: it only looks at the same bytes anew        Reshape, Identity, Shape ...

An operator that is in no class is unknown; whoever counts says so and names it.
"""

from collections.abc import Mapping
from typing import Literal

Class = Literal[
    "conv", "depthwise", "matmul", "light", "strided", "heavy", "rowwise", "residual_norm", "pool",
    "quantize", "free", "unknown"
]  # fmt: skip


def _each(names: str, count: float = 0.0) -> dict[str, float]:
    return dict.fromkeys(names.split(), count)


FREE = _each("Identity Reshape Flatten Squeeze Unsqueeze Constant Shape Size Dropout")
"""A view of bytes that are there already, or a fact about them."""

CONVOLUTIONS = _each(
    """Conv FusedConv NhwcFusedConv QLinearConv NhwcQLinearConv ConvInteger ConvTranspose
    QLinearConvTranspose"""
)

PRODUCTS = _each(
    """MatMul Gemm FusedMatMul FusedGemm TransposeMatMul MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul
    QLinearMatMul QGemm MatMulNBits MatMulBnb4"""
)

RECURRENT = _each("LSTM GRU RNN DynamicQuantizeLSTM")

ATTENTIONS = _each("Attention QAttention MultiHeadAttention")

QUANTIZE = _each("QuantizeLinear DequantizeLinear DynamicQuantizeLinear", 2.0)
"""Operations an element that is written, here and below."""

LIGHT = {
    **_each(
        """Add Sub Mul Div Neg Abs Relu LeakyRelu PRelu Clip Min Max Sum Mean Where Equal Greater GreaterOrEqual Less
        LessOrEqual And Or Not Xor Floor Ceil Round Sign Reciprocal Sqrt Mod ThresholdedRelu HardSigmoid BitShift
        BitwiseAnd BitwiseOr BitwiseNot BitwiseXor IsNaN IsInf CumSum QLinearAdd QLinearMul QLinearLeakyRelu
        QLinearWhere BiasAdd""",
        1.0,
    ),
    **_each(
        """Concat Split SplitToSequence Slice Gather GatherElements GatherND Scatter ScatterElements ScatterND Expand
        Tile Pad Cast OneHot Range ReverseSequence Trilu ConstantOfShape EyeLike QLinearConcat Compress NonZero
        Unique"""
    ),
    "BatchNormalization": 2.0,
    "HardSwish": 3.0,
}
"""Counted on the largest of what is read and what is written, like all that follow."""

STRIDED = _each("Transpose Resize Upsample DepthToSpace SpaceToDepth ReorderInput ReorderOutput")

POOLS = _each("MaxPool AveragePool LpPool QLinearAveragePool", 1.0)
"""For each output and each element of its window."""

HEAVY = {
    **_each("Exp Log Pow Sin Cos Tan Asin Acos Atan Sinh Cosh Elu Selu Celu", 7.0),
    **_each("Tanh Sigmoid QLinearSigmoid Softplus Softsign Mish Swish QuickGelu", 10.0),
    **_each("Erf Gelu FastGelu BiasGelu", 22.0),
}
"""exp as a polynomial of the sixth degree, the others in proportion to the time that they took beside it in ONNX
Runtime 1.31 (AVX-512, one core of an AMD EPYC, 2026-11: 0.2 ns an element for Exp, 0.3 for Tanh and Sigmoid, 0.65 for
Gelu)."""

ROWWISE = {
    **_each(
        """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ArgMax ArgMin TopK GlobalAveragePool GlobalMaxPool GlobalLpPool QLinearGlobalAveragePool
        QLinearReduceMean""",
        1.0,
    ),
    **_each("Softmax LogSoftmax BiasSoftmax QLinearSoftmax", 10.0),
    **_each(
        """LayerNormalization RMSNormalization SimplifiedLayerNormalization InstanceNormalization GroupNormalization
        LRN MeanVarianceNormalization LpNormalization""",
        14.0,
    ),
}
"""In the same proportion, what needs a whole row for each of its results."""

RESIDUAL_NORM = _each("SkipLayerNormalization SkipSimplifiedLayerNormalization EmbedLayerNormalization", 15.0)
"""ONNX Runtime's fused forms of a sum and a norm. In 1.31 they took 5 ns an element where the norm alone took 0.5 (one
core of an AMD EPYC, 2026-11), so they have a class of their own."""

ELEMENTWISE: Mapping[str, float] = {**LIGHT, **STRIDED, **HEAVY, **ROWWISE, **RESIDUAL_NORM}
"""Operations an element of all that are counted by elements."""

GATHERS = _each("Gather GatherElements GatherND Slice Split EmbedLayerNormalization")
"""These read no more of their first input than they write."""


_CLASSES: tuple[tuple[Class, Mapping[str, float]], ...] = (
    ("free", FREE),
    ("conv", CONVOLUTIONS),
    ("matmul", {**PRODUCTS, **RECURRENT, **ATTENTIONS, **_each("Einsum")}),
    ("light", LIGHT),
    ("strided", STRIDED),
    ("heavy", HEAVY),
    ("rowwise", ROWWISE),
    ("residual_norm", RESIDUAL_NORM),
    ("pool", POOLS),
    ("quantize", QUANTIZE),
)


def class_of(operator: str) -> Class:
    """The class of an operator by its type; "unknown" for one that stands nowhere here."""
    return next((kind for kind, members in _CLASSES if operator in members), "unknown")
