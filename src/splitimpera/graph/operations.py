"""What is known of ATen's operations: which only re-arrange, which fold into their producer, what each one costs.

Names are ATen's, without overload ("conv2d"); a trailing underscore marks the in-place twin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

Shape = tuple[int, ...]


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


def _convolution(inputs: Sequence[Shape], output: Shape) -> int:
    weight = inputs[1]  # (out, in / groups, *kernel)
    return prod(output) * prod(weight[1:])


def _transposed_convolution(inputs: Sequence[Shape], output: Shape) -> int:
    weight = inputs[1]  # (in, out / groups, *kernel)
    return prod(inputs[0]) * prod(weight[1:])


def _matrix_product(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * inputs[0][-1]


def _added_product(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * inputs[1][-1]


def _attention(inputs: Sequence[Shape], output: Shape) -> int:
    queries, keys, values = inputs[:3]  # (..., L, E), (..., S, E), (..., S, Ev)
    return prod(queries) * keys[-2] + prod(output[:-1]) * keys[-2] * values[-1]


MACS: dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    **dict.fromkeys(("linear", "mm", "bmm", "matmul"), _matrix_product),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    "scaled_dot_product_attention": _attention,
}
"""Multiply-accumulates, given the shapes of the tensor arguments and of the result; what is absent counts as none."""


def macs(operation: str, inputs: Sequence[Shape], output: Shape) -> int:
    """Multiply-accumulates of one call; additions, activations, normalisations and pools count as none."""
    count = MACS.get(operation)
    return count(inputs, output) if count is not None else 0


def folds(operation: str, data_inputs: int) -> bool:
    """Whether an operation joins the layer that it follows: it keeps the shape and needs no second activation."""
    if operation in ACTIVATIONS or operation in NORMALISATIONS:
        return True
    return operation in ARITHMETIC and data_inputs == 1
