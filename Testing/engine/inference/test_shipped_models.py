"""Accuracy of the models that ship, on a head that none of them was trained on: no change may cost any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from asa.inference import SegmentRequest, segment
from asa.metrics import dice
from asa.models import find_model
from asa.tasks import TASKS
from asa.volume import read_volume

MARGIN = 0.01  # of Dice: processors round differently


@dataclass(frozen=True)
class Scored:
    """A head, and what the shipped model reaches on it.

    Attributes:
        images: modality -> file below the folder of real heads.
        labels: reference label map.
        values: region -> values of the reference that are it.
        reached: region -> Dice of the version below.
        version: of the model these figures were measured with.
    """

    images: Mapping[str, str]
    labels: str
    values: Mapping[str, tuple[int, ...]]
    reached: Mapping[str, float]
    version: str


GLIOMA, LESIONS = "brats_more/BraTS2021_00002/BraTS2021_00002", "ms_more/mslesseg/P14/T1/P14_T1"
HEALTHY = "malf/1000/1000"
SHIPPED = {
    "tissue": Scored(
        images={"t1": f"{HEALTHY}_SS.nii.gz"},
        labels=f"{HEALTHY}_classified.nii.gz",
        values={"ventricles": (1,), "GM": (2,), "WM": (3,)},
        reached={"ventricles": 0.841, "GM": 0.928, "WM": 0.943},
        version="0.3.0",
    ),
    "tumour": Scored(
        images={key: f"{GLIOMA}_{key.replace('gd', 'ce')}.nii.gz" for key in ("t1", "t1gd", "t2", "flair")},
        labels=f"{GLIOMA}_seg.nii.gz",
        values={"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)},
        reached={"WT": 0.733, "TC": 0.652, "ET": 0.670},
        version="1.0.0",
    ),
    "wmh": Scored(
        images={key: f"{LESIONS}_{key}.nii.gz" for key in ("t1", "flair")},
        labels=f"{LESIONS}_lesions.nii.gz",
        values={"WMH": (1,)},
        reached={"WMH": 0.780},
        version="1.0.0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", SHIPPED)
def test_the_shipped_model_is_as_accurate_as_its_figures(task: str, data_root: Path) -> None:
    scored = SHIPPED[task]
    images = {key: data_root / name for key, name in scored.images.items()}
    if not all(path.is_file() for path in images.values()):
        pytest.skip(f"{data_root} does not hold {', '.join(scored.images.values())}")
    result = segment(SegmentRequest(images=images, task=task, device="cpu", threads=1))
    truth = read_volume(data_root / scored.labels, labels=True).array
    regions = {region.name: region.values for region in TASKS[task].regions}
    for name, values in scored.values.items():
        found = dice(np.isin(result.labels.array, regions[name]), np.isin(truth, values))
        assert found > scored.reached[name] - MARGIN, f"{name}: Dice {found:.3f}, was {scored.reached[name]:.3f}"


@pytest.mark.parametrize("task", SHIPPED)
def test_the_figures_are_those_of_the_version_that_ships(task: str) -> None:
    assert find_model(None, task).description.version == SHIPPED[task].version, "measure again"
