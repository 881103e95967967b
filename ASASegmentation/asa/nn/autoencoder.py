"""Masked auto-encoder: encoder on visible patches, decoder on the full grid."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from asa.nn.attention import block_stack, xavier_uniform
from asa.nn.config import DecoderConfig, EncoderConfig, decoder_preset, encoder_preset
from asa.nn.encoder import Encoder, Origin, batch_codes, patch_grid, run_in_line
from asa.nn.position import Grid3, PositionEncoding


@dataclass(frozen=True)
class AutoencoderConfig:
    """Encoder and decoder; patch size, windows, frame grid and position scheme are the encoder's in both."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for checkpoints."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> AutoencoderConfig:
        """Inverse of :meth:`to_dict`; lists (as JSON gives them) become tuples.

        Raises:
            TypeError: a key that this version does not know.
        """
        encoder: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["encoder"].items()}
        return AutoencoderConfig(EncoderConfig(**encoder), DecoderConfig(**values["decoder"]))


def autoencoder_preset(name: str, **encoder_changes: Any) -> AutoencoderConfig:
    """Auto-encoder of preset ``paper`` or ``starter``; ``encoder_changes`` override fields of the encoder.

    Raises:
        KeyError: unknown preset.
    """
    return AutoencoderConfig(encoder_preset(name, **encoder_changes), decoder_preset(name))


class MaskedAutoencoder(nn.Module):
    """Reconstructs all patches of an image from the visible ones (paper section 2.1, Fig. 1).

    Position codes are used twice: on patch embeddings (in the encoder) and on mask tokens (with ``visible_codes``, on
    all tokens of the decoder).
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder, config.decoder
        self.encoder = Encoder(encoder)
        self.bridge = nn.Linear(encoder.dim, decoder.dim, bias=False)
        self.mask_token = nn.Parameter(torch.empty(decoder.dim).normal_(std=0.02))
        self.position = PositionEncoding(encoder.frame, decoder.dim, encoder.position)
        self.decoder = block_stack(
            decoder.depth,
            decoder.dim,
            decoder.heads,
            encoder.window,
            encoder.mlp_ratio,
            double_softmax=encoder.double_softmax,
            late_bias=encoder.late_bias,
        )
        self.norm = nn.LayerNorm(decoder.dim)
        self.head = nn.Linear(decoder.dim, encoder.in_channels * encoder.patch**3)
        self.typical: Tensor | None
        voxels = encoder.in_channels * encoder.patch**3
        self.register_buffer("typical", torch.zeros(*encoder.frame, voxels) if decoder.typical else None)
        for module in (self.bridge, self.decoder, self.head):
            module.apply(xavier_uniform)

    def forward(self, image: Tensor, mask: Tensor, origin: Origin = (0, 0, 0), absent: Tensor | None = None) -> Tensor:
        """Return the voxels of every patch as the decoder sees them: (B, C, T, H, W) -> (B, N, C*patch^3).

        Args:
            mask: (B, N) bool, True where a patch is hidden; the same number in each row.
            origin: where the image starts in the frame grid, in patches; one for all or one for each image.
            absent: (B, N) bool, True where a patch is left out altogether, neither seen nor reconstructed (its voxels
                are 0 in the answer); the same number in each row, and none of them hidden.

        Raises:
            ValueError: the mask does not fit the image, or its rows hide different numbers of patches.
        """
        patches = patch_grid(image.shape, self.config.encoder.patch)
        x, present = self.decoded(image, mask, origin, absent)
        made: Tensor = self.head(self.norm(x))
        expected = self.expected(patches, origin)
        if expected is not None:
            numbers = torch.arange(expected.shape[1], device=made.device)[None] if present is None else present
            made = made + expected.to(made).expand(len(made), -1, -1).gather(1, spread(numbers, made))
        if present is None:
            return made
        index = present[:, :, None].expand(-1, -1, made.shape[2])
        count = patches[0] * patches[1] * patches[2]
        return made.new_zeros(len(made), count, made.shape[2]).scatter(1, index, made)

    def hidden(self, image: Tensor, mask: Tensor, origin: Origin, absent: Tensor | None) -> Tensor:
        """Voxels of the hidden patches alone, in grid order (B, hidden, C*patch^3); arguments of :meth:`forward`."""
        x, present = self.decoded(image, mask, origin, absent)
        chosen = mask if present is None else mask.gather(1, present)
        index = visible_patches(~chosen)[:, :, None].expand(-1, -1, x.shape[2])
        patches: Tensor = self.head(self.norm(x.gather(1, index)))
        expected = self.expected(patch_grid(image.shape, self.config.encoder.patch), origin)
        if expected is None:
            return patches
        numbers = visible_patches(~mask)
        return patches + expected.to(patches).expand(len(patches), -1, -1).gather(1, spread(numbers, patches))

    def expected(self, grid: Grid3, origin: Origin) -> Tensor | None:
        """Voxels (1 or B, N, C*patch^3) of the mean head at the places of the patches; None where there is none."""
        if self.typical is None:
            return None
        origins = origin if isinstance(origin, list) else [origin]
        origins = origins[:1] if len(set(origins)) == 1 else origins
        boxes = [tuple(slice(o, o + g) for o, g in zip(one, grid, strict=True)) for one in origins]
        return torch.stack([self.typical[box].flatten(0, 2) for box in boxes])

    def decoded(
        self, image: Tensor, mask: Tensor, origin: Origin, absent: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What the decoder's blocks make of the patches that are not absent (B, P, D), and their numbers (B, P) in the
        grid, None where none is absent."""
        grid = patch_grid(image.shape, self.config.encoder.patch)
        batch, tokens = image.shape[0], grid[0] * grid[1] * grid[2]
        if mask.shape != (batch, tokens):
            raise ValueError(f"Mask {tuple(mask.shape)} does not fit {batch} images of {tokens} patches.")
        visible = visible_patches(mask if absent is None else mask | absent)
        embedded = self.encoder.tokens(image, origin)
        index = visible[:, :, None].expand(-1, -1, embedded.shape[2])
        seen: Tensor = self.bridge(self.encoder.encode(embedded.gather(1, index), grid, shown=visible)[0])

        codes = batch_codes(self.position, grid, origin)
        codes = codes.to(seen)
        if self.config.decoder.visible_codes:
            seen = seen + codes.expand(batch, -1, -1).gather(1, visible[:, :, None].expand_as(seen))
        x = (self.mask_token + codes).expand(batch, -1, -1)
        # Back to grid order before the first block, or no window would ever hold visible and hidden patches together.
        x = x.scatter(1, visible[:, :, None].expand_as(seen), seen.to(x.dtype))
        present = None if absent is None else visible_patches(absent)
        if present is not None:
            x = x.gather(1, present[:, :, None].expand(-1, -1, x.shape[2]))
        for number, block in enumerate(self.decoder):
            line = self.encoder.line(number, grid, present, x.device)
            x = run_in_line(block, x, line, recompute=self.encoder.checkpointing)
        return x, present


def spread(numbers: Tensor, values: Tensor) -> Tensor:
    """Return the numbers of patches (1 or B, P) as an index for values (B, N, M) of all patches: (B, P, M)."""
    return numbers[:, :, None].expand(len(values), -1, values.shape[2])


def visible_patches(mask: Tensor) -> Tensor:
    """Return the grid indices of the patches that are not hidden, in grid order: (B, N) bool -> (B, visible) int64.

    Raises:
        ValueError: rows hide different numbers of patches, or all of them.
    """
    count = (~mask).sum(1)
    if not bool((count == count[0]).all()) or int(count[0]) == 0:
        raise ValueError(f"Each image of a batch needs the same number (> 0) of visible patches, got {count.tolist()}.")
    return (~mask).nonzero()[:, 1].view(mask.shape[0], -1)
