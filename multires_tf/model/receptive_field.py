"""How far a network sees, in voxels along one axis."""

from __future__ import annotations

from collections.abc import Sequence


def highres3dnet(*, blocks: int, dilations: Sequence[int]) -> int:
    """Receptive field of a branch, in voxels of its own resolution.

    Args:
        blocks: residual blocks a stage, each of two 3-wide convolutions.
        dilations: of the stages.

    Returns:
        87 for three blocks at dilations 1, 2, 4.
    """
    return 1 + 2 * (1 + sum(2 * blocks * dilation for dilation in dilations))


def unet(*, levels: int, extra_convs: int) -> int:
    """Receptive field of the U-Net along a pooled axis.

    Args:
        levels: each of two 3-wide convolutions, with pooling by 2 between them.
        extra_convs: 3-wide convolutions at the end.
    """
    down = sum(2 * 2 * 2**level for level in range(levels))
    pooled = sum(2**level for level in range(levels - 1))
    # On the way up: one convolution and one interpolation below, two convolutions at the level.
    up = sum(2 * 2 ** (level + 1) + 2 ** (level + 1) + 4 * 2**level for level in range(levels - 1))
    return 1 + down + pooled + up + 2 * extra_convs
