"""What is known of ATen's operations: which only re-arrange, which fold into their producer, what each one costs.

Names are ATen's, without overload ("conv2d"); a trailing underscore marks the in-place twin.
"""

from __future__ import annotations


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Cheap re-arrangements of one tensor. They cross no link by themselves: the tail repeats them on what they are made of.
VIEWS = _names("""
    view reshape _unsafe_view flatten unflatten permute transpose t numpy_T movedim swapaxes swapdims adjoint mT
    squeeze unsqueeze expand expand_as view_as select slice narrow diagonal unfold
    split split_with_sizes chunk unbind tensor_split hsplit vsplit
    contiguous clone alias detach lift_fresh_copy identity
""")

# Identities in eval mode, whatever their other arguments say
DROPOUTS = _names("dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout")

ACTIVATIONS = _names("""
    relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid sigmoid tanh softplus softsign
    log_sigmoid prelu rrelu threshold clamp clamp_min clamp_max exp log abs neg sqrt rsqrt square
""")
NORMALISATIONS = _names("""
    batch_norm native_batch_norm _native_batch_norm_legit_no_training instance_norm group_norm layer_norm rms_norm
    native_layer_norm native_group_norm local_response_norm
""")
ARITHMETIC = _names("add sub rsub mul div pow")

# The last dimension holds the channels of what these make
CHANNELS_LAST = _names("""
    linear addmm mm bmm matmul baddbmm einsum embedding layer_norm rms_norm native_layer_norm
    scaled_dot_product_attention
""")
# Dimension 1 does, counting the batch
CHANNELS_FIRST_PREFIXES = (
    *("conv", "max_pool", "avg_pool", "adaptive_", "upsample", "pixel_"),
    *("batch_norm", "instance_norm", "group_norm", "native_batch_norm", "_native_batch_norm"),
)


WITHOUT_MACS = (
    VIEWS
    | DROPOUTS
    | ACTIVATIONS
    | NORMALISATIONS
    | ARITHMETIC
    | frozenset(
        """
        getitem cat concat concatenate stack roll flip pad constant_pad_nd reflection_pad2d replication_pad2d
        pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle repeat repeat_interleave tile
        embedding index_select gather index masked_fill where to _to_copy type_as real imag view_as_real view_as_complex
        max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d _adaptive_avg_pool2d max_pool2d_with_indices
        upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d interpolate
        softmax _softmax log_softmax _log_softmax logsumexp normalize
        mean sum amax amin max min std var argmax argmin prod maximum minimum round floor ceil sign reciprocal
        exp2 sin cos erf addcmul addcdiv lerp glu logit eq ne lt le gt ge logical_and logical_or
        logical_not scalar_tensor zeros_like ones_like full_like new_zeros new_ones
        fill copy slice_scatter select_scatter
        """.split()
    )
)
"""Operations that compute little beside what they read and write: their cost is the bytes that they move."""


def computes(operation: str) -> bool:
    """Whether an operation may cost multiply-accumulates; additions, activations and pools count as none."""
    return operation not in WITHOUT_MACS


def folds(operation: str, data_inputs: int) -> bool:
    """Whether an operation joins the layer that it follows: it keeps the shape and needs no second activation."""
    if operation in ACTIVATIONS or operation in NORMALISATIONS:
        return True
    return operation in ARITHMETIC and data_inputs == 1
