"""From what a network answers to labels: nested regions, thresholds, specks, and normalisation within the brain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from asa.errors import InputError, ModelError
from asa.geometry import FRAME, Alignment, share_from_frame
from asa.inference import sampling
from asa.inference.labelling import label_classes, label_regions, move_class, ring_values
from asa.inference.regions import postprocess_regions
from asa.inference.subsets import average_over_subsets
from asa.model_description import MovedClass, RegionRules, check_description
from asa.models import ModelFolder
from asa.preprocessing.normalise import correct_bias, stripped_brain, zscore_brain, zscore_stripped
from asa.tasks import TISSUE, TUMOUR, WMH
from asa.volume import Grid, Volume

HERE = Alignment(np.eye(4), "identity", 1.0)
EVERYWHERE = np.ones(FRAME.shape, bool)
NCR, ED, ET = 1, 2, 3


def nested(*sizes: int, likely: float = 0.9) -> np.ndarray:
    """Cubes of these sides around the middle of the brain frame, one region each."""
    regions = np.full((len(sizes), *FRAME.shape), 0.02, np.float32)
    for region, size in zip(regions, sizes, strict=True):
        region[tuple(slice(n // 2 - size // 2, n // 2 + size // 2) for n in FRAME.shape)] = likely
    return regions


def process(
    regions: np.ndarray, voxel_ml: float = 0.001, inside: np.ndarray = EVERYWHERE, **rules: dict[str, float]
) -> np.ndarray:
    """Regions of the tumour task with rules applied."""
    return postprocess_regions(regions, TUMOUR, RegionRules(**rules), voxel_ml, inside)


def test_rings_of_nested_regions() -> None:
    assert ring_values(TUMOUR) == [ED, NCR, ET]
    assert ring_values(WMH) == [1]
    with pytest.raises(ModelError, match="not nested"):
        ring_values(TISSUE)


def test_regions_become_labels_and_probabilities_that_sum_to_one() -> None:
    processed = process(nested(40, 20, 8))
    labels, kept = label_regions(processed, TUMOUR, HERE, FRAME, keep=True)
    assert {v: int((labels == v).sum()) for v in (ED, NCR, ET)} == {
        ED: 40**3 - 20**3,
        NCR: 20**3 - 8**3,
        ET: 8**3,
    }
    assert kept is not None and np.abs(kept.astype(np.float32).sum(0) - 1).max() < 0.01
    middle = tuple(n // 2 for n in FRAME.shape)
    assert kept[(ET, *middle)] == pytest.approx(0.9, abs=0.01)


def test_an_inner_region_stays_within_the_outer() -> None:
    processed = process(nested(10, 20, 30))
    labels, _ = label_regions(processed, TUMOUR, HERE, FRAME)
    assert (labels == ET).sum() == 10**3 and not (labels == ED).any()


def test_thresholds_move_the_border_of_their_region_only() -> None:
    regions = nested(40, 20, 8, likely=0.6)
    labels, _ = label_regions(process(regions, thresholds={"ET": 0.7}), TUMOUR, HERE, FRAME)
    assert not (labels == ET).any() and (labels == NCR).sum() == 20**3
    labels, _ = label_regions(process(regions, thresholds={"WT": 0.7}), TUMOUR, HERE, FRAME)
    assert not labels.any(), "what is in no tumour is in no part of it"


def test_specks_go_by_their_size_in_the_scan() -> None:
    regions = nested(40, 20, 8)
    regions[:, 5:9, 5:9, 5:9] = 0.9
    with_speck, _ = label_regions(process(regions, min_component_ml={"WT": 0.05}), TUMOUR, HERE, FRAME)
    assert with_speck[6, 6, 6] == ET, "64 voxels of 1 microlitre are more than 0.05 mL"
    without, _ = label_regions(process(regions, min_component_ml={"WT": 0.05}, voxel_ml=0.0005), TUMOUR, HERE, FRAME)
    assert without[6, 6, 6] == 0 and (without > 0).sum() == 40**3


def test_parts_far_less_certain_than_the_tumour_go() -> None:
    regions = nested(40, 20, 8)
    centre = tuple(n // 2 for n in FRAME.shape)
    regions[0][regions[0] > 0.5] = 0.99
    regions[:, 4:12, 4:12, 4:12] = 0.7  # log-odds 0.85; the tumour's are 4.6
    regions[0, 20:28, 4:12, 4:12] = 0.95  # 2.9: another tumour
    kept = process(regions, min_component_certainty={"WT": 0.4})
    assert not (kept[:, 4:12, 4:12, 4:12] > 0.5).any() and kept[0, 24, 8, 8] > 0.5 and kept[0][centre] > 0.5
    everything = process(regions)
    np.testing.assert_array_equal(everything[0, 4:12, 4:12, 4:12], np.float32(0.7))


def test_parts_that_look_the_same_in_the_other_hemisphere_go() -> None:
    regions = np.full((3, *FRAME.shape), 0.02, np.float32)
    bright = np.zeros(FRAME.shape, np.float32)
    places = {"tumour": 20, "second": 50, "pole": 80, "both sides": 110}
    for name, t in places.items():
        box = (slice(t, t + 16), slice(60, 76), slice(20, 36))
        opposite = (*box[:2], slice(FRAME.shape[2] - 36, FRAME.shape[2] - 20))
        regions[(0, *box)] = 0.95 if name == "tumour" else 0.8
        bright[box] = {"tumour": 1.0, "second": 1.0, "pole": 1.2}.get(name, 0.3)
        bright[opposite] = 1.0 if name == "pole" else 0.3 if name == "both sides" else 0
        if name == "both sides":
            regions[(0, *opposite)] = 0.8

    def left(bright: np.ndarray | None, inside: np.ndarray = EVERYWHERE) -> set[str]:
        rules = RegionRules(asymmetry={"WT": 0.5})
        found = postprocess_regions(regions, TUMOUR, rules, 0.001, inside, bright)[0] > 0.5
        return {name for name, t in places.items() if found[t + 8, 68, 28]}

    assert left(bright) == {"tumour", "second", "both sides"}
    assert left(bright[..., ::-1].copy()) == {"both sides"}  # darker than the other side
    regions[(0, slice(110, 126))] = 0.02
    assert left(bright[..., ::-1].copy()) == {"tumour"}  # the leading part, as none is better
    assert left(bright) == {"tumour", "second"}
    assert left(None) == set(places) - {"both sides"}
    halved = EVERYWHERE.copy()
    halved[..., FRAME.shape[2] // 2 :] = False
    assert left(bright, halved) == set(places) - {"both sides"}  # nothing to compare with


def test_holes_of_a_mass_are_filled_within_the_brain() -> None:
    regions = nested(60, 4, 2)
    t, h, w = (n // 2 for n in FRAME.shape)
    regions[0, t - 6 : t + 6, h - 6 : h + 6, w - 30 : w] = 0.02  # a torn core, open to the left
    regions[0, :2, :2, :2] = 0.9  # a part so small that its ball is less than a voxel
    inside = EVERYWHERE.copy()
    inside[t - 6 : t, h - 6 : h + 6, w - 30 : w] = False
    as_it_is = process(regions, inside=inside)[0] > 0.5
    filled = process(regions, inside=inside, closing={"WT": 0.3})[0] > 0.5
    assert not as_it_is[t - 6 : t + 6, h - 6 : h + 6, w - 29 : w].any()
    assert filled[t : t + 6, h - 6 : h + 6, w - 20 : w].all()
    assert not filled[t - 6 : t, h - 6 : h + 6, w - 30 : w].any(), "outside of the brain"
    around = EVERYWHERE.copy()
    around[t - 30 : t + 30, h - 30 : h + 30, w - 30 : w + 30] = False
    np.testing.assert_array_equal(filled & around, as_it_is & around)


def test_a_subset_of_the_modalities_has_a_say_where_it_can_know(tmp_path) -> None:
    told, done = [], []

    class Predictor:
        """WT, TC and ET are as likely as modalities are shown."""

        def posterior(self, image, *, tta, progress):
            told.append((tuple(int(channel.any()) for channel in image), tta))
            progress(1.0)
            return np.full((3, *image.shape[1:]), np.count_nonzero(image.any((1, 2, 3))) / 4, np.float32)

    info = {"format": 1, "name": "m", "task": "tumour", "network": {}}
    info |= {"modalities": ["t1", "t1gd", "t2", "flair"], "output": "regions"}
    info |= {"unknown_without": {"t1gd": ["TC", "ET"]}, "subset_averaging": [["t1gd", "flair"], ["flair"]]}

    def means(*given: int) -> list[float]:
        told.clear()
        image = np.float32(given)[:, None, None, None] * np.ones((4, 2, 2, 2), np.float32)
        model = ModelFolder(tmp_path, check_description(info, "model.json"))
        found = average_over_subsets(Predictor(), image, model, TUMOUR, tta=True, progress=done.append)
        return [float(region.mean()) for region in found]

    assert means(1, 1, 1, 1) == pytest.approx([(1 + 0.5 + 0.25) / 3, 0.75, 0.75])
    assert told == [((1, 1, 1, 1), True), ((0, 1, 0, 1), True), ((0, 0, 0, 1), True)]
    assert done == pytest.approx([1 / 3, 2 / 3, 1])
    assert means(1, 0, 1, 1) == pytest.approx([0.5, 0.75, 0.75])  # no other subset knows TC; FLAIR alone knows WT
    assert means(1, 0, 0, 0) == [0.25] * 3 and len(told) == 1
    info["output"] = "classes"
    assert means(1, 1, 1, 1) == [1.0] * 3


def test_zscore_within_the_brain() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(300, 40, (20, 20, 20)).astype(np.float32)
    brain = np.zeros(image.shape, bool)
    brain[4:16, 4:16, 4:16] = True
    image[0] = 1e6  # scalp, and whatever else lies outside
    image[8, 8, 8] = 1e6
    scaled = zscore_brain(image, brain)
    assert scaled[~brain].max() == scaled[~brain].min() == 0
    assert scaled.max() == 5
    image[8, 8, 8] = 300
    inside = zscore_brain(image, brain)[brain]
    assert inside.mean() == pytest.approx(0, abs=1e-3) and inside.std() == pytest.approx(1, abs=1e-2)
    assert not zscore_brain(image, np.zeros_like(brain)).any()


def test_the_brain_of_a_stripped_scan_has_no_holes() -> None:
    array = np.zeros(FRAME.shape, np.float32)
    array[40:100, 50:120, 40:120] = 5
    array[60:70, 60:70, 60:70] = 0
    array[80:90, 50:70, 60:70] = 0  # open to the side
    brain = stripped_brain(Volume(array, FRAME), HERE)
    np.testing.assert_array_equal(brain, ndimage.binary_fill_holes(array > 0))
    assert brain[65, 65, 65] and not brain[85, 55, 65]
    grain = np.random.default_rng(0).normal(0, 0.1, array.shape).astype(np.float32)
    scaled = zscore_stripped((array + grain) * (array > 0))
    assert not scaled[~brain].any() and abs(scaled[brain].mean()) < 0.1


def test_coil_shading_is_divided_out() -> None:
    rng = np.random.default_rng(0)
    t, h, w = np.meshgrid(*(np.linspace(-1, 1, n) for n in (60, 64, 60)), indexing="ij")
    brain = t**2 + h**2 + w**2 < 0.8
    tissue = np.where(ndimage.gaussian_filter(rng.normal(size=brain.shape), 3) > 0, 100.0, 140.0)
    even = (tissue + rng.normal(0, 3, brain.shape)).astype(np.float32) * brain
    shaded = even * np.exp(0.3 * t + 0.2 * h).astype(np.float32)
    corrected = correct_bias(shaded, brain)
    gain = (corrected / np.where(brain, even, 1))[brain]
    assert gain.std() / gain.mean() < 0.25 * (shaded / np.where(brain, even, 1))[brain].std()
    assert not corrected[~brain].any()
    speck = np.zeros_like(brain)
    speck[30:33, 30:33, 30:33] = True
    np.testing.assert_array_equal(correct_bias(shaded, speck), shaded)


def test_a_model_says_which_modalities_it_needs(tmp_path) -> None:
    info = {"format": 1, "name": "m", "task": "tumour", "network": {}}
    info |= {"modalities": ["t1", "t1gd", "flair"], "optional_modalities": ["t1", "t1gd"]}
    model = ModelFolder(tmp_path, check_description(info, "model.json"))
    assert model.channels({"flair": 0, "t2": 0, "t1": 0}) == ("t1", "flair")
    with pytest.raises(InputError, match="needs flair; given: t1"):
        model.channels(["t1"])
    info["optional_modalities"] = info["modalities"]
    model = ModelFolder(tmp_path, check_description(info, "model.json"))
    assert model.channels(["t1gd"]) == ("t1gd",)
    with pytest.raises(InputError, match="needs one of t1, t1gd, flair; given: t2"):
        model.channels(["t2"])


def test_a_class_moves_within_its_box_only() -> None:
    posterior = np.full((3, *FRAME.shape), 1 / 3, np.float32)
    move_class(posterior, MovedClass(2, 1, ((-10, 10), (-32, 4), (0, 22))))
    moved = np.argwhere(posterior[2] == 0)
    world = FRAME.to_world(moved)
    # voxel centres lie half a millimetre off the whole numbers
    np.testing.assert_allclose(world.min(0), (-9.5, -31.5, 0.5))
    np.testing.assert_allclose(world.max(0), (9.5, 3.5, 21.5))
    assert len(moved) == 20 * 36 * 22
    np.testing.assert_allclose(posterior.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose(posterior[1][posterior[2] == 0], 2 / 3, atol=1e-6)


@pytest.mark.parametrize(("threshold", "sides"), [(None, 10), (0.5, 20), (0.3, 30), (0.7, 10), (0.9, 0)])
def test_a_threshold_is_of_all_classes_together(threshold: float | None, sides: int) -> None:
    """Three cubes within one another: 0.4 + 0.4, then 0.3 + 0.3, then 0.2 + 0.2; the background has the rest."""
    share = nested(30, 20, 10, likely=1.0).round().sum(0) * 0.1 + 0.1
    share[share < 0.15] = 0
    classes = np.stack([1 - 2 * share, share * 0.999, share]).astype(np.float32)
    labels, _ = label_classes(classes, HERE, FRAME, threshold=threshold)
    assert np.array_equal(np.unique(labels), [0, 2] if sides else [0])
    assert (labels == 2).sum() == sides**3


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 1.2), (5.0, 0.9, 0.9)], ids=["1 mm", "fine", "thick"])
@pytest.mark.parametrize("slab", [1 << 24, 200_000], ids=["at once", "in slabs"])
def test_slabs_hold_what_resampling_one_map_gives(
    monkeypatch: pytest.MonkeyPatch, spacing: tuple[float, float, float], slab: int
) -> None:
    monkeypatch.setattr(sampling, "SLAB_VALUES", slab)
    rng = np.random.default_rng(3)
    small = rng.random((2, *(n // 8 for n in FRAME.shape)), dtype=np.float32)
    maps = np.stack([ndimage.zoom(one, 8, order=1) for one in small])
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.93, 0.1, -0.05], [-0.08, 0.97, 0.12], [0.06, -0.1, 0.9]]
    matrix[:3, 3] = (20, -15, 9)
    alignment = Alignment(matrix, "affine", 1.0)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing
    affine[:, 3] = (-60, -100, -30, 1)
    grid = Grid((24, 60, 70), affine)  # some of it lies beyond the frame
    whole = np.stack([share_from_frame(one, alignment, grid) for one in maps])
    found = np.full_like(whole, np.nan)
    for slices, values in sampling.sampled_slabs(maps, alignment, grid):
        found[:, slices] = values
    np.testing.assert_allclose(found, whole, atol=1e-4)
    assert (whole == 0).any() or spacing[0] < 1
