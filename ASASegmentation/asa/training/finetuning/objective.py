"""Fine-tuning objective: Dice and cross-entropy, over classes or regions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from asa.nn.baselines import Network
from asa.nn.objective import Batch, Objective
from asa.tasks import Task
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.losses import deep_supervision
from asa.training.region_loss import region_deep_supervision


class SegmentationObjective(Objective):
    """Dice + cross-entropy with deep supervision, over classes or over overlapping regions."""

    def __init__(self, network: Network, regions: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        self.network: Network = network
        self.regions = regions

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return losses of one micro-batch."""
        outputs = self.network.forward_deep(batch["image"], batch["origins"])
        if self.regions:
            return region_deep_supervision(outputs, batch["target"], self.regions)
        return deep_supervision(outputs, batch["target"])


def make_objective(settings: FinetuneSettings, network: Network, task: Task) -> SegmentationObjective:
    """Return the loss over classes or over regions."""
    by_region = settings.output == "regions"
    return SegmentationObjective(network, [region.values for region in task.regions] if by_region else ())
