"""SW-ViT: the shifted-window vision transformer used as pre-trained encoder and in the segmenter."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asa.nn.attention import block_stack, xavier_uniform
from asa.nn.config import EncoderConfig
from asa.nn.position import Grid3, Order, PositionEncoding, sequence_rank

Origin = Grid3 | list[Grid3]


def patch_grid(shape: tuple[int, ...], patch: int) -> Grid3:
    """Patches along the last three axes of ``shape``.

    Raises:
        ValueError: an axis is not a multiple of the patch size.
    """
    t, h, w = shape[-3:]
    if t % patch or h % patch or w % patch:
        raise ValueError(f"Image of {t}x{h}x{w} voxels does not divide into patches of {patch}.")
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
            late_bias=config.late_bias,
        )
        self.norm = nn.LayerNorm(config.dim)
        self.checkpointing = False  # trade compute for memory: recompute blocks in the backward pass
        self.apply(xavier_uniform)

    def codes(self, grid: Grid3, origin: Origin = (0, 0, 0)) -> Tensor:
        """Return the position codes (1 or B, N, D) of a crop, or of a batch of crops with an origin each."""
        return batch_codes(self.position, grid, origin)

    def tokens(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """Embedded patches plus position codes: (B, C, T, H, W) -> (B, N, D).

        ``origin``: where the crop starts in the frame grid, in patches; one for all, or a list with one for each
        image of the batch.
        """
        patch = self.config.patch
        embedded: Tensor = self.embed(patchify(image, patch))
        return embedded + self.codes(patch_grid(image.shape, patch), origin).to(embedded)

    def encode(
        self, tokens: Tensor, grid: Grid3, taps: Collection[int] = (), shown: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks over tokens (B, N, D) of a patch grid, or of a part of it.

        Args:
            tokens: in grid order.
            grid: patches (T, H, W) that they come from.
            taps: numbers of blocks, from 1.
            shown: (B, N) grid indices of the tokens, increasing, where they are only some of the grid's.

        Returns:
            The normalised output (B, N, D) and the hidden states after the blocks in ``taps``, in grid order.
        """
        states: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            line = self.line(number - 1, grid, shown, tokens.device)
            tokens = run_in_line(block, tokens, line, recompute=self.checkpointing)
            if number in taps:
                states.append(tokens)
        return self.norm(tokens), states

    def line(self, block: int, grid: Grid3, shown: Tensor | None, device: torch.device) -> Tensor | None:
        """Indices (B or 1, N) that put the tokens in line for a block (from 0), None where they are already."""
        return token_line(self.config.orders, block, grid, shown, device)

    def forward(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """(B, C, T, H, W) -> (B, N, D)."""
        return self.encode(self.tokens(image, origin), patch_grid(image.shape, self.config.patch))[0]


def token_line(
    orders: tuple[Order, ...], block: int, grid: Grid3, shown: Tensor | None, device: torch.device
) -> Tensor | None:
    """Return the indices (B or 1, N) that put tokens in line for a block (from 0); None where grid order is right.

    Both blocks of a pair, the second of which has shifted windows, share an order.
    """
    order = orders[block // 2 % len(orders)]
    if order == "thw":
        return None
    rank = sequence_rank(grid, order).to(device)
    return (rank[None] if shown is None else rank[shown]).argsort(1)


def run_in_line(block: nn.Module, tokens: Tensor, line: Tensor | None, *, recompute: bool) -> Tensor:
    """Output (B, N, D) of a block that sees its tokens in another order, back in theirs."""
    if line is not None:
        index = line[:, :, None].expand(len(tokens), -1, tokens.shape[2])
        tokens = tokens.gather(1, index)
    recompute = recompute and torch.is_grad_enabled()  # less memory for more computing
    out = checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
    return out if line is None else torch.empty_like(out).scatter(1, index, out)


def inflate_channels(weight: Tensor, channels: int) -> Tensor:
    """Patch embedding of one channel for ``channels``: each gets a copy divided by their number.

    (D, patch^3) -> (D, channels*patch^3), so that equal channels give the code one of them gave alone.
    """
    return weight.repeat(1, channels) / channels
