"""Tab Inspect model with the real engine: a tiny pre-training, a left-handed scan, the real `asa inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import driving
import nibabel as nib
import numpy as np
import pytest
import slicer
from scipy import ndimage
from Testing.engine import tiny_pretraining as tiny

from ASASlicerLib.volumes import ijk_to_ras

pytestmark = pytest.mark.slow

SCHEDULE = {"log_every": 1, "checkpoint_every": 0, "validate_every": 0, "keep_every": 2}
_PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps on patches of 8 in the middle 32 mm of the brain frame, two of which are kept."""
    folder = tmp_path_factory.mktemp("look")
    changes = {"epochs": 4, "warmup_epochs": 0, "held_out": 0, "schedule": SCHEDULE}
    settings = tiny.settings(tiny.make_store(folder / "store", edge=32), **changes)
    settings["encoder"]["patch"] = 8
    assert tiny.run(settings, folder / "run") == "finished"
    return folder / "run"


@pytest.fixture
def tab(run: Path) -> Iterator[Any]:
    slicer.mrmlScene.Clear(0)
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    panel.logic.open_run(run)
    panel.ui.tabWidget.setCurrentIndex(list(panel.tabs).index("Inspect model"))
    yield panel.tabs["Inspect model"]
    panel.logic.forget_run(run)
    module.close()
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def scan(tmp_path: Path) -> Any:
    """A stripped "brain" in MNI152 space that grows brighter along each axis, stored left-handed, its axes swapped."""
    affine = np.array([[0, 0, -3.0, 78.4], [3, 0, 0, -95.3], [0, 3, 0, -65.2], [0, 0, 0, 1]])
    y, z, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (48, 44, 52)], indexing="ij")
    image = np.where(x**2 + y**2 + z**2 < 0.6, 150 + 45 * x + 35 * y + 40 * z, 0)
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), tmp_path / "T1.nii.gz")
    return slicer.util.loadVolume(str(tmp_path / "T1.nii.gz"))


def look(tab: Any, button: Any) -> None:
    before = tab.inspection
    button.click()
    assert tab.inspections.running, tab.ui.statusLabel.text
    driving.wait_for(lambda: not tab.inspections.running, _PATIENCE_S)
    driving.wait_for(lambda: tab.inspection is not before or tab._note, 30)
    assert tab.ui.statusLabel.text == "Done."


def array(tab: Any, name: str) -> np.ndarray:
    return slicer.util.arrayFromVolume(tab.shown.node(name))


def test_from_a_run_to_a_drawn_mask(tab: Any, scan: Any) -> None:
    ui = tab.ui
    ui.volumeSelector.setCurrentNode(scan)
    ui.strippedCheckBox.setChecked(True)
    ui.alignCheckBox.setChecked(False)
    look(tab, ui.inspectAllButton)
    assert tab.checkpoint.step == tab.inspection.summary["steps"] == 5
    voxels, inside = slicer.util.arrayFromVolume(scan), tab.inspection.patches.numbers > 0
    for name in ("image", "hidden", "error", "importance", "reconstruction"):
        np.testing.assert_allclose(ijk_to_ras(tab.shown.node(name)), ijk_to_ras(scan), atol=1e-4)
    # The network's input is the scan at the same voxel, scaled: turned or mirrored, it would not be.
    assert 500 < inside.sum() < 3000
    deep = ndimage.binary_erosion(inside)  # at its border the network's field of view is mixed with what is beyond
    assert np.corrcoef(voxels[deep], array(tab, "image")[deep])[0, 1] > 0.995
    assert abs(array(tab, "hidden")[inside].mean() - 0.75) < 0.1
    hidden = array(tab, "hidden") > 0  # at 3 mm, errors at the border of a patch run over into its neighbours
    assert array(tab, "error")[hidden].mean() > 2 * array(tab, "error")[inside & ~hidden].mean()

    errors = {}
    own = [model for model in tab._models if model not in tab._extra]
    for index, model in enumerate(own):  # without the engine: all were looked at
        before = tab.inspection
        if index != ui.checkpointSlider.value:
            ui.checkpointSlider.setValue(index)
            driving.wait_for(lambda before=before: tab.inspection is not before, 120)
        errors[model.step] = tab.inspection.summary["mse_hidden"]
    assert list(errors) == [2, 4, 5] and len(set(errors.values())) == 3

    ui.maskComboBox.setCurrentIndex(ui.maskComboBox.findData("drawn"))
    ui.clearButton.click()
    patches = tab.inspection.patches
    wanted = (21, 42, 43)
    for patch in wanted:
        tab.tools.clicked.make().AddControlPointWorld([float(x) for x in patches.centre(patch)])
    driving.wait_for(lambda: "3 of 64" in ui.hiddenLabel.text, 10)
    look(tab, ui.inspectButton)
    np.testing.assert_array_equal(np.flatnonzero(tab.inspection.hidden), wanted)
    np.testing.assert_array_equal(array(tab, "hidden") > 0, np.isin(patches.numbers - 1, wanted))

    tab.tools.chosen.make().AddControlPointWorld([float(x) for x in patches.centre(21)])
    driving.wait_for(lambda: tab.shown.node("attention") is not None, 10)
    shown = array(tab, "attention")
    totals = [shown[patches.numbers == number + 1].max() for number in range(64)]
    assert abs(sum(totals) - 1) < 0.02


def test_a_checkpoint_that_reconstructs_nothing_is_a_sentence(tab: Any, scan: Any, repository: Path) -> None:
    tab.ui.volumeSelector.setCurrentNode(scan)
    tab.open_model(repository / "Resources" / "Models" / "tissue")
    tab.ui.inspectButton.click()
    driving.wait_for(lambda: not tab.inspections.running, _PATIENCE_S)
    assert "not a pre-training run" in tab.ui.statusLabel.text
    assert tab.inspection is None
