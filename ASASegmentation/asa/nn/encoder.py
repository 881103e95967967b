"""SW-ViT: the shifted-window vision transformer that ASA pre-trains and the segmenter stands on."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asa.nn.attention import block_stack, xavier_uniform
from asa.nn.config import EncoderConfig
from asa.nn.position import Grid3, PositionEncoding

Origin = Grid3 | list[Grid3]


def patch_grid(shape: tuple[int, ...], patch: int) -> Grid3:
    """Patches along the last three axes of ``shape``.

    Raises:
        ValueError: an axis is not a multiple of the patch size.
    """
    t, h, w = shape[-3:]
    if t % patch or h % patch or w % patch:
        raise ValueError(f"image of {t}x{h}x{w} voxels does not divide into patches of {patch}")
    return t // patch, h // patch, w // patch


def patchify(image: Tensor, patch: int) -> Tensor:
    """(B, C, T, H, W) -> (B, N, C*patch^3): voxels of each patch, patches flattened with W fastest."""
    batch, channels = image.shape[:2]
    t, h, w = patch_grid(image.shape, patch)
    split = image.reshape(batch, channels, t, patch, h, patch, w, patch)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, t * h * w, channels * patch**3)


def unpatchify(patches: Tensor, grid: Grid3, patch: int) -> Tensor:
    """Inverse of :func:`patchify`: (B, N, C*patch^3) -> (B, C, T, H, W)."""
    batch = patches.shape[0]
    t, h, w = grid
    split = patches.reshape(batch, t, h, w, -1, patch, patch, patch)
    return split.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(batch, -1, t * patch, h * patch, w * patch)


def batch_codes(position: PositionEncoding, grid: Grid3, origin: Origin) -> Tensor:
    """Codes of a crop (1, N, D), or of a batch of crops with an origin each (B, N, D; 1 if all have the same)."""
    origins = origin if isinstance(origin, list) else [origin]
    if len(set(origins)) == 1:  # as where every image is the whole frame: one copy goes to the device, not a batch
        origins = origins[:1]
    return torch.stack([position(grid, o) for o in origins])


class Encoder(nn.Module):
    """Patch embedding, symmetric position codes and windowed transformer blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.in_channels * config.patch**3, config.dim)
        self.position = PositionEncoding(config.frame, config.dim, config.position)
        self.blocks = block_stack(
            config.depth,
            config.dim,
            config.heads,
            config.window,
            config.mlp_ratio,
            double_softmax=config.double_softmax,
        )
        self.norm = nn.LayerNorm(config.dim)
        self.checkpointing = False  # trade compute for memory: recompute blocks in the backward pass
        self.apply(xavier_uniform)

    def codes(self, grid: Grid3, origin: Origin = (0, 0, 0)) -> Tensor:
        """Position codes (1 or B, N, D) of a crop, or of a batch of crops with an origin each."""
        return batch_codes(self.position, grid, origin)

    def tokens(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """Embedded patches plus position codes: (B, C, T, H, W) -> (B, N, D).

        ``origin``: where the crop starts in the frame grid, in patches; one for all, or a list with one for each
        image of the batch.
        """
        patch = self.config.patch
        embedded: Tensor = self.embed(patchify(image, patch))
        return embedded + self.codes(patch_grid(image.shape, patch), origin).to(embedded)

    def encode(self, tokens: Tensor, taps: Collection[int] = ()) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks over (B, N, D) tokens, which may be any subset of a grid (visible tokens, say).

        Returns:
            The normalised output (B, N, D) and the hidden states after the blocks numbered in ``taps`` (from 1).
        """
        states: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            if number in taps:
                states.append(tokens)
        return self.norm(tokens), states

    def forward(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """(B, C, T, H, W) -> (B, N, D)."""
        return self.encode(self.tokens(image, origin))[0]


def inflate_channels(weight: Tensor, channels: int) -> Tensor:
    """Patch embedding of one channel for ``channels``: each gets a copy divided by their number.

    (D, patch^3) -> (D, channels*patch^3), so that equal channels give the code one of them gave alone.
    """
    return weight.repeat(1, channels) / channels
