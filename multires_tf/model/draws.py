"""Monte-Carlo draws: which channels a draw keeps, as one integer hash.

A draw is a sub-network. Its channel masks are a pure function of (seed, draw index, layer index,
channel), so that the same draw can be had in every tile, after a restart, on any machine and under
any backend. The arithmetic is 32-bit with wrap-around, written in int32 because that is the one
integer type that NumPy, TensorFlow, JAX and PyTorch all multiply, shift and xor alike.
"""

from __future__ import annotations

import types
from typing import Any

import keras
import numpy as np

_BITS = 24  # the hash's upper bits that are compared with the keep probability


def kept_channels(*, seed: int, draw: int, layer: int, channels: int, keep: float) -> np.ndarray:
    """Returns which channels one draw keeps before one dropped layer.

    Args:
        seed: seed of the series of draws.
        draw: index of the draw in its series.
        layer: index of the dropped layer in the network.
        channels: number of channels.
        keep: probability to keep a channel.

    Returns:
        Booleans of shape (channels,).
    """
    pair = np.array([[seed, draw]], np.int64).astype(np.uint32).view(np.int32)
    return _uniform_bits(np, pair, layer, channels)[0] < _threshold(keep)


def channel_mask(draws: Any, *, layer: int, channels: int, keep: float, dtype: str) -> Any:
    """Returns the channel masks of a batch of draws, scaled by 1 / keep.

    Args:
        draws: int32 tensor (B, 2), a row (seed, draw index) for each batch element.
        layer: index of the dropped layer in the network.
        channels: number of channels.
        keep: probability to keep a channel.
        dtype: type of the result.

    Returns:
        Tensor (B, channels) of 0 and 1 / keep.
    """
    kept = keras.ops.less(_uniform_bits(keras.ops, draws, layer, channels), _threshold(keep))
    return keras.ops.cast(kept, dtype) * keras.ops.cast(1.0 / keep, dtype)


def _threshold(keep: float) -> int:
    return round(keep * (1 << _BITS))


def _uniform_bits(ops: types.ModuleType, draws: Any, layer: int, channels: int) -> Any:
    """Uniform integers in [0, 2^24), shape (B, channels)."""
    places = np.arange(channels, dtype=np.int32) + np.int32(layer << 16)
    state = _mix(ops, ops.bitwise_xor(draws[:, :1], _int32(0x9E3779B9)))
    state = _mix(ops, ops.bitwise_xor(state, draws[:, 1:]))
    state = _mix(ops, ops.bitwise_xor(state, places[None, :]))
    return _shift(ops, state, 32 - _BITS)


def _mix(ops: types.ModuleType, x: Any) -> Any:
    """A bijective finaliser: the xor-shift-multiply rounds of MurmurHash3 (public domain)."""
    x = ops.multiply(ops.bitwise_xor(x, _shift(ops, x, 16)), _int32(0x85EBCA6B))
    x = ops.multiply(ops.bitwise_xor(x, _shift(ops, x, 13)), _int32(0xC2B2AE35))
    return ops.bitwise_xor(x, _shift(ops, x, 16))


def _shift(ops: types.ModuleType, x: Any, bits: int) -> Any:
    """Right shift that brings in zeros, although int32 shifts bring in the sign."""
    return ops.bitwise_and(ops.right_shift(x, np.int32(bits)), np.int32((1 << (32 - bits)) - 1))


def _int32(constant: int) -> np.ndarray:
    return np.array([[constant]], np.uint32).view(np.int32)
