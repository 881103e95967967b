"""Settings files that earlier versions shipped are still valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from asa.training.finetuning.settings import FinetuneSettings
from asa.training.pretraining.settings import PretrainSettings
from asa.training.settings import Settings, read_settings
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.tissue import TissueSettings

EARLIER = Path(__file__).resolve().parents[1] / "earlier" / "settings"
KINDS: dict[str, type[Settings]] = {
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "tissue": TissueSettings,
    "tumour": LesionSettings,
    "wmh": LesionSettings,
}


@pytest.mark.parametrize("path", sorted(EARLIER.glob("*.yaml")), ids=lambda path: path.stem)
def test_settings_of_an_earlier_version_are_valid(path: Path) -> None:
    kind = KINDS[path.stem.partition("_")[0]]
    values = read_settings(path, kind)
    assert isinstance(values, kind)
    again = kind.model_validate(values.model_dump(mode="json"))
    assert again == values
