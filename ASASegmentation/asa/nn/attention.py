"""Linear window attention: LW-MSA and its shifted twin SLW-MSA (paper section 2.2).

The token sequence is cut into 1-D windows of S tokens; all windows are computed together by PyTorch's
``scaled_dot_product_attention`` with one additive bias, so the cost is linear in the number of tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def allowed_pairs(tokens: int, window: int, shift: int) -> Tensor | None:
    """Return which query may see which key in each window: bool (windows, S, S), or None if every pair is allowed.

    ``tokens`` are padded at the end to whole windows and rolled by ``shift``. Two tokens see each other only
    if the roll did not bring them together around the ends of the sequence; only padding attends to padding.
    """
    count = -(-tokens // window)
    if count * window == tokens and shift == 0:
        return None
    position = torch.arange(count * window).roll(-shift)
    wrapped = torch.arange(count * window) >= count * window - shift
    padding = position >= tokens
    wrapped, padding = wrapped.view(count, window), padding.view(count, window)
    same_side = wrapped[:, :, None] == wrapped[:, None, :]
    return same_side & (~padding[:, None, :] | padding[:, :, None])


class LinearWindowAttention(nn.Module):
    """Multi-head self-attention within 1-D windows, with a learned relative position bias.

    Args:
        dim: embedding width D.
        heads: number of heads; divides ``dim``.
        window: tokens in a window, S.
        shifted: roll the sequence by S // 2 first and back after (SLW-MSA).
        double_softmax: apply softmax to the attention weights a second time, as the released code does.
        late_bias: add position bias and window mask between the two softmaxes, as the released code does.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int = 32,
        *,
        shifted: bool = False,
        double_softmax: bool = False,
        late_bias: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"Width {dim} is not a multiple of {heads} heads.")
        self.heads, self.window = heads, window
        self.shift = window // 2 if shifted else 0
        self.double_softmax, self.late_bias = double_softmax, late_bias
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.relative_bias = nn.Parameter(torch.zeros(2 * window - 1, heads))
        self._masks: dict[int, Tensor | None] = {}

    def bias(self, tokens: int) -> Tensor:
        """Additive bias (1, heads, S, S), or (windows, heads, S, S) when some pairs are forbidden."""
        step = torch.arange(self.window, device=self.relative_bias.device)
        offset = step[:, None] - step[None, :] + self.window - 1
        bias = self.relative_bias[offset].permute(2, 0, 1)[None]
        if tokens not in self._masks:
            self._masks = {tokens: allowed_pairs(tokens, self.window, self.shift)}
        allowed = self._masks[tokens]
        if allowed is None:
            return bias
        return bias.masked_fill(~allowed[:, None].to(bias.device), float("-inf"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, dim = x.shape
        size = self.window
        q, k, v, bias = self.windows(x)
        if self.double_softmax:
            out = self._weights(q, k, bias) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        count = q.shape[1] // self.heads
        out = out.view(batch, count, self.heads, size, -1).transpose(2, 3).reshape(batch, count * size, dim)
        if self.shift:
            out = out.roll(self.shift, dims=1)
        projected: Tensor = self.proj(out[:, :tokens])
        return projected

    def windows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, windows*heads, S, D/heads) of (B, N, D), and the bias of their scores
        (1, windows*heads, S, S)."""
        batch, tokens, dim = x.shape
        size = self.window
        count = -(-tokens // size)
        x = F.pad(x, (0, 0, 0, count * size - tokens))
        if self.shift:
            x = x.roll(-self.shift, dims=1)
        # windows and heads share one axis, so that one bias serves the whole batch
        qkv = self.qkv(x).view(batch, count, size, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).reshape(3, batch, count * self.heads, size, -1)
        bias = self.bias(tokens).to(q.dtype).expand(count, -1, -1, -1).reshape(1, -1, size, size)
        return q, k, v, bias

    def weights(self, x: Tensor) -> Tensor:
        """The weight of each value in each output of :meth:`forward`: (B, N, D) -> (B, windows, heads, S, S).

        Rows (queries) sum to 1; 0 where a pair is forbidden.
        """
        q, k, _, bias = self.windows(x)
        found = self._weights(q, k, bias)
        return found.view(len(found), -1, self.heads, self.window, self.window)

    def _weights(self, q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
        scores: Tensor = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if self.late_bias:
            return (scores.softmax(-1) + bias).softmax(-1)
        weights = (scores + bias).softmax(-1)
        return weights.softmax(-1) if self.double_softmax else weights

    def keys(self, tokens: int) -> Tensor:
        """Return which token lies in each place of each window: (windows, S) int64, -1 for padding."""
        count = -(-tokens // self.window)
        place = torch.arange(count * self.window).roll(-self.shift)
        return torch.where(place < tokens, place, -1).view(count, self.window)


class Block(nn.Module):
    """Pre-norm transformer block: windowed attention, then a two-layer perceptron with GELU."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int = 32,
        mlp_ratio: float = 4.0,
        *,
        shifted: bool = False,
        double_softmax: bool = False,
        late_bias: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = LinearWindowAttention(
            dim, heads, window, shifted=shifted, double_softmax=double_softmax, late_bias=late_bias
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


def block_stack(
    depth: int, dim: int, heads: int, window: int, mlp_ratio: float, *, double_softmax: bool, late_bias: bool
) -> nn.ModuleList:
    """``depth`` blocks with LW-MSA and SLW-MSA taking turns, used by the encoder and by the decoder."""
    softmax = {"double_softmax": double_softmax, "late_bias": late_bias}
    return nn.ModuleList(Block(dim, heads, window, mlp_ratio, shifted=bool(i % 2), **softmax) for i in range(depth))


def xavier_uniform(module: nn.Module) -> None:
    """Xavier-uniform linear layers with zero bias (the paper's initialisation of SW-ViT blocks)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
