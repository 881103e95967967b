"""Pre-training objectives behind one interface: the paper's, its ablations (Table 4) and the compared methods.

Each is an :class:`~asa.nn.objective.Objective` over a network with an ``encoder``. A batch holds ``image``
(B, C, T, H, W) z-scored, ``origins`` (one per image, in patches of the frame grid) and ``seeds`` (one per image):
whatever is random about a sample follows from its seed, so it does not depend on which process it falls to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asa.nn import AutoencoderConfig, Encoder, EncoderConfig, MaskedAutoencoder, patchify
from asa.nn.autoencoder import visible_patches
from asa.nn.baselines.resenc import MaskedUNet
from asa.nn.objective import Batch, Objective
from asa.nn.position import Scheme
from asa.pretext.cells import CELLS, CENTRE, NEIGHBOURS, cut_cells, permutations
from asa.pretext.losses import attentive_loss, normalised_patches, patch_errors
from asa.pretext.masking import brain_patches, random_mask
from asa.pretext.vhog import WeightMode, importance, masked_weights
from asa.seeds import generator

Method = Literal["asa", "a-ssl", "mae", "spe-ssl", "rpl", "jigsaw", "resenc"]
METHODS: tuple[str, ...] = get_args(Method)
ATTENTIVE = frozenset({"asa", "a-ssl", "resenc"})
SYMMETRIC = frozenset({"asa", "spe-ssl"})
CONTEXT = frozenset({"rpl", "jigsaw"})


def position_scheme(method: Method) -> Scheme:
    """Symmetric codes for ``asa`` and ``spe-ssl``, the vanilla encoding for the others."""
    return "symmetric" if method in SYMMETRIC else "sinusoid"


@dataclass(frozen=True)
class ReconstructionOptions:
    """What is hidden and how the reconstruction is judged.

    Attributes:
        mask_ratio: share of patches that are hidden.
        brain_only: hide patches that hold brain only; each image then hides as many as its head is large.
        decoded: share of the hidden patches that the decoder reconstructs, drawn again in each training step; the
            others cost nothing.
        brain_tokens: leave patches without brain out of encoder and decoder altogether; implies ``brain_only``. Two
            thirds of a head's frame are air, so a step costs a third.
        bins: orientation bins b along each angle.
        weight_mode: importance of a patch, see :func:`asa.pretext.vhog.importance`.
        normalised_target: reconstruct patches with mean 0 and variance 1 instead of z-scored voxels.
    """

    mask_ratio: float = 0.75
    brain_only: bool = False
    brain_tokens: bool = False
    decoded: float = 1.0
    bins: int = 9
    weight_mode: WeightMode = "paper"
    normalised_target: bool = False


class Explanation(NamedTuple):
    """What the auto-encoder was shown and made of it; N patches of M voxels.

    Attributes:
        mask: (B, N) bool, True where hidden.
        importance: (B, N), not normalised.
        target: (B, N, M), the reconstruction target.
        reconstruction: (B, N, M).
    """

    mask: Tensor
    importance: Tensor
    target: Tensor
    reconstruction: Tensor


class Reconstruction(Objective):
    """Masked reconstruction with the attentive loss (Eq. 2) or with the plain mean squared error."""

    def __init__(
        self, network: MaskedAutoencoder | MaskedUNet, options: ReconstructionOptions, *, attentive: bool
    ) -> None:
        super().__init__()
        self.network: MaskedAutoencoder | MaskedUNet = network
        self.options, self.attentive = options, attentive

    def masks(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """(B, N) bool on the device of ``image``; row i follows from seed i."""
        patch = self.network.config.encoder.patch
        brain = brain_patches(image, patch).cpu() if self.hides_brain else None
        tokens = image[0, 0].numel() // patch**3
        rows = [
            random_mask(tokens, self.options.mask_ratio, generator(seed), None if brain is None else brain[i])
            for i, seed in enumerate(seeds)
        ]
        return torch.stack(rows).to(image.device)

    def asked(self, mask: Tensor) -> Tensor:
        """Return the hidden patches (B, N) bool that are to be reconstructed; the same number in each row."""
        if self.options.decoded == 1 or not self.training:
            return mask
        count = max(1, round(self.options.decoded * int(mask[0].sum())))
        order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0).argsort(1)
        return torch.zeros_like(mask).scatter(1, order[:, :count], True)

    @property
    def hides_brain(self) -> bool:
        """Whether only patches with brain are hidden."""
        return self.options.brain_only or self.options.brain_tokens

    def importance(self, image: Tensor) -> Tensor:
        """Importance (B, N) of the patches of a normalised image."""
        # Eq. 1 sees zeros outside the image; air, the lowest value, must be zero too or every border were an edge.
        above_air = image - image.amin((2, 3, 4), keepdim=True)
        return importance(above_air, self.network.config.encoder.patch, self.options.bins, self.options.weight_mode)

    def explain(self, batch: Batch) -> Explanation:
        """Return the masks, importance, target and reconstruction of a batch whose images hide equally many patches.

        A ``mask`` (B, N) in the batch is used instead of one that follows from the seeds.
        """
        image = batch["image"]
        mask = batch["mask"] if "mask" in batch else self.masks(image, batch["seeds"])
        target = patchify(image, self.network.config.encoder.patch)
        if self.options.normalised_target:
            target = normalised_patches(target)
        absent = ~brain_patches(image, self.network.config.encoder.patch) & ~mask if self.options.brain_tokens else None
        shown = self.network(image, mask, batch["origins"], absent)
        return Explanation(mask, self.importance(image), target, shown)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss``, ``mse`` of hidden patches, ``attentive`` (Eq. 2, L) and ``attentive_sum`` (N*L)."""
        if self.hides_brain and len(batch["seeds"]) > 1:
            # heads differ in size, so each hides another number of patches and goes alone
            return _mean([self.forward(one) for one in split(batch)])
        image = batch["image"]
        patch = self.network.config.encoder.patch
        mask = batch["mask"] if "mask" in batch else self.masks(image, batch["seeds"])
        absent = ~brain_patches(image, patch) & ~mask if self.options.brain_tokens else torch.zeros_like(mask)
        asked = self.asked(mask)
        absent = absent | (mask & ~asked)
        shown = self.network.hidden(image, asked, batch["origins"], absent if bool(absent.any()) else None)
        numbers = visible_patches(~asked)
        target = patchify(image, patch).gather(1, numbers[:, :, None].expand(-1, -1, shown.shape[2]))
        if self.options.normalised_target:
            target = normalised_patches(target)
        errors = patch_errors(shown, target)
        plain = errors.mean()
        attentive = attentive_loss(errors, masked_weights(self.importance(image), asked).gather(1, numbers))
        return {
            "loss": attentive if self.attentive else plain,
            "mse": plain.detach(),
            "attentive": attentive.detach(),
            "attentive_sum": attentive.detach() * asked.sum() / len(asked),
        }


class ContextNetwork(nn.Module):
    """Encoder shared by crops, mean-pooled, and a classifier of the features of several crops together."""

    def __init__(self, config: EncoderConfig, crops: int, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.head = nn.Sequential(
            nn.Linear(crops * config.dim, 2048),
            nn.ReLU(),
            nn.BatchNorm1d(2048),
            nn.Dropout(0.5),
            nn.Linear(2048, 1024),
            nn.ReLU(),
            nn.BatchNorm1d(1024),
            nn.Dropout(0.5),
            nn.Linear(1024, classes),
        )

    def forward(self, crops: Tensor) -> Tensor:
        """(B, crops, C, t, h, w) -> (B, classes)."""
        # each crop is coded as if it lay at the origin: its true place is the answer
        pooled = self.encoder(crops.flatten(0, 1)).mean(1)
        logits: Tensor = self.head(pooled.view(len(crops), -1))
        return logits


class ContextPrediction(Objective):
    """Where do crops of a head belong? Subclasses put the question to :class:`ContextNetwork`."""

    network: ContextNetwork

    def question(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
        """Crops to show, out of the cells (27, C, t, h, w), and the right answer."""
        raise TypeError(f"{type(self).__name__} does not implement an objective.")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and accuracy."""
        shown, answers = [], []
        for image, seed in zip(batch["image"], batch["seeds"], strict=True):
            rng = generator(seed)
            cells = cut_cells(image, self.network.encoder.config.patch, rng if self.network.training else None)
            crops, answer = self.question(cells, rng)
            shown.append(crops)
            answers.append(answer)
        truth = torch.tensor(answers, device=batch["image"].device)
        logits = self.network(torch.stack(shown)).float()
        right = (logits.argmax(1) == truth).float().mean()
        return {"loss": F.cross_entropy(logits, truth), "accuracy": right}


class RelativePatchLocation(ContextPrediction):
    """3D-RPL: which of its 26 neighbours is shown with the centre cell?"""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.network = ContextNetwork(config, 2, len(NEIGHBOURS))

    def question(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
        """Centre and one neighbour (2, C, t, h, w); the answer is the neighbour's number, 0 to 25."""
        answer = int(torch.randint(len(NEIGHBOURS), (), generator=generator))
        return cells[[CENTRE, NEIGHBOURS[answer]]], answer


class Jigsaw(ContextPrediction):
    """3D-Jigsaw: in which of 100 orders are the 27 cells shown?"""

    def __init__(self, config: EncoderConfig, orders: int = 100) -> None:
        super().__init__()
        self.network = ContextNetwork(config, CELLS, orders)
        self.orders = permutations(orders)

    def question(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
        """Return all cells in another order (27, C, t, h, w); the answer is the number of the order."""
        answer = int(torch.randint(len(self.orders), (), generator=generator))
        return cells[self.orders[answer].to(cells.device)], answer


def make_objective(
    method: Method, config: AutoencoderConfig, options: ReconstructionOptions
) -> Reconstruction | ContextPrediction:
    """Return the objective of a method; position encoding and sizes are those of ``config``.

    ``resenc``: attentive masked pre-training, as that of ``asa``, of a residual-encoder U-Net.
    """
    if method == "rpl":
        return RelativePatchLocation(config.encoder)
    if method == "jigsaw":
        return Jigsaw(config.encoder)
    network = MaskedUNet(config) if method == "resenc" else MaskedAutoencoder(config)
    return Reconstruction(network, options, attentive=method in ATTENTIVE)


def split(batch: Batch) -> list[Batch]:
    """Return the same samples, each in a separate batch."""
    return [{key: value[i : i + 1] for key, value in batch.items()} for i in range(len(batch["seeds"]))]


def _mean(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([each[key] for each in losses]).mean() for key in losses[0]}
