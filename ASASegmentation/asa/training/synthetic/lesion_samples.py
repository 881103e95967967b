"""What the lesion models train on: synthetic samples, and augmented crops of real cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from scipy import ndimage
from torch import Generator, Tensor

from asa.data.augment import intensities
from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.splits import Recipe, load_or_draw_split
from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn.config import STARTER_FRAME
from asa.nn.position import Grid3
from asa.seeds import chance, generator, uniform
from asa.synth.diseased import (
    DiseasedHeads,
    implant_lesions,
    implant_tumour,
    vary_contrast,
)
from asa.synth.generator import PATCH
from asa.synth.intensity import smooth_field
from asa.synth.transplant import donor_part, transplant
from asa.tasks import TASKS
from asa.training.finetuning.crops import CropSettings, LabelledCrops
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.trainer import Batch

MIXTURE = 1  # what random numbers are for: not those of the sample itself


CUT_MARGIN = 12  # mm around what a case is labelled with that are not healthy either: oedema fades slowly


IMPLANTS = {"tumour": implant_tumour, "wmh": implant_lesions}


def show_some(rng: Generator, image: Tensor, share: float) -> Tensor:
    """In ``share`` of the calls a subset of the channels (C, T, H, W), each equally likely; the others become 0."""
    some = 1 + int(torch.randint(2 ** len(image) - 1, (), generator=rng))
    if not chance(rng, share):
        return image
    shown = torch.tensor([bool(some >> channel & 1) for channel in range(len(image))])
    return image * shown.view(-1, 1, 1, 1)


def cut_off(rng: Generator, image: Tensor, share: float) -> Tensor:
    """In ``share`` of the calls one channel of (C, T, H, W) ends at a plane: beyond it 0, or black as padding is.

    Series of one patient often do not cover the same part of the brain.
    """
    channel, axis = (int(torch.randint(n, (), generator=rng)) for n in (len(image), 3))
    size = image.shape[axis + 1]
    place = int(torch.randint(size // 4, size, (), generator=rng))
    low = uniform(rng, -5, -1) if chance(rng, 0.5) else 0.0
    whole = chance(rng, 0.5)
    if not chance(rng, share):
        return image
    beyond = torch.zeros_like(image[channel], dtype=torch.bool)
    part = beyond.narrow(axis, place, size - place) if whole else beyond.narrow(axis, 0, size - place)
    part.fill_(True)
    image = image.clone()
    image[channel][beyond & (image[channel] != 0)] = low
    return image


def training_cases(split: str, fold: int, store: CaseStore, part: str = "train") -> list[int]:
    """Positions in the store of the cases to train on, or of another part; all of them where no split is named.

    Raises:
        InputError: no such fold, or the file names cases that the store lacks.
    """
    if not split:
        return list(range(len(store.cases)))
    cases = [LabelledCase(case.name, case.subject, {}, None) for case in store.cases]
    folds = load_or_draw_split(Path(split), cases, Recipe(shares=(1, 0, 1), folds=len(cases)))
    if fold >= len(folds):
        raise InputError(f"{split} has {len(folds)} folds; fold {fold} (from 0) is not one of them.")
    return store.numbers(folds[fold][part])


class RealCrops(LabelledCrops):
    """Augmented crops of real cases, some with more of the disease grown in; the background stays 0."""

    def __init__(self, store: CaseStore, numbers: Sequence[int], frame: Grid3, settings: LesionSettings) -> None:
        super().__init__(
            store,
            numbers,
            frame,
            CropSettings(settings.crop, settings.foreground, settings.augment, settings.optimisation.seed),
        )
        self.implant, self.implant_share, self.bias = IMPLANTS[settings.task], settings.implant_share, settings.bias
        self.contrast, self.transplant_share = settings.contrast, settings.transplant_share
        self.centred = settings.centred
        self.modalities = [m.key for m in TASKS[settings.task].modalities]

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """More of the disease sometimes, then intensities, of each modality on its own.

        Six cases do not show how differently coils shade a brain; without the field, what lies nearest to the coil
        (cerebellum, temporal lobes) was taken for oedema in cases the model had not seen.
        """
        if self.transplant_share and chance(rng, self.transplant_share):
            image, labels = self.transplant(rng, image, labels)
        if chance(rng, self.contrast):
            image = vary_contrast(rng, image, self.modalities)
        if chance(rng, self.implant_share):
            image, labels = self.implant(rng, image, labels, self.modalities)
        inside = (image != 0).any(0)
        for number, channel in enumerate(image):
            if not channel.any():
                continue  # the patient lacks this modality
            changed = intensities(rng, channel[None], self.settings.augment)[0]
            changed = changed + uniform(rng, 0, self.bias) * smooth_field(rng, tuple(labels.shape), 3)[0]
            image[number] = changed * uniform(rng, 0.85, 1.18) + uniform(rng, -0.2, 0.2)
        return image * inside, labels

    def start(self, rng: Generator, number: int) -> Grid3:
        """As :class:`LabelledCrops`; in the middle along W where both hemispheres must be seen."""
        t, h, w = super().start(rng, number)
        return t, h, (self.store.shape[2] - self.settings.crop[2]) // 2 // PATCH * PATCH if self.centred else w

    def transplant(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Add the disease of another training case to this crop."""
        number = self.numbers[int(torch.randint(len(self.numbers), (), generator=rng))]
        places = self.store.foreground(number)
        if not len(places):
            return image, labels
        return transplant(rng, image, labels, *donor_part(rng, *self.store.read(number), places))


class HealthyCrops(RealCrops):
    """Crops of real cases of another disease as healthy brains, into which more of the task's own disease is drawn.

    What they are labelled with is cut out with a margin, and shown as empty as the surroundings of a brain. Two
    patients do not show what FLAIR makes of healthy tissue in other scanners; these do.
    """

    def __init__(self, store: CaseStore, frame: Grid3, settings: LesionSettings) -> None:
        changes = {"foreground": 0.0, "transplant_share": 0.0}
        numbers = training_cases(settings.healthy_split, 0, store)
        super().__init__(store, numbers, frame, settings.model_copy(update=changes))
        self.channels = [store.modalities.index(m) for m in self.modalities]

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cut out, then as :class:`RealCrops`."""
        near = torch.from_numpy(ndimage.maximum_filter(labels.numpy(), 2 * CUT_MARGIN + 1))
        return super().alter(rng, image[self.channels].masked_fill(near > 0, 0.0), torch.zeros_like(labels))


class MixedCrops:
    """Training source: synthetic samples, and real ones where there are some; sample ``index`` is always the same."""

    def __init__(
        self,
        heads: DiseasedHeads | None,
        real: RealCrops | None,
        settings: LesionSettings,
        first_seed: int,
        healthy: HealthyCrops | None = None,
    ) -> None:
        self.heads, self.real, self.healthy, self.settings, self.first_seed = heads, real, healthy, settings, first_seed

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return images (B, C, T, H, W), targets (B, T, H, W) and crop origins."""
        drawn = [self.sample(index) for index in indices]
        image = torch.stack([image for image, _, _ in drawn])
        return {
            "image": image.contiguous(memory_format=torch.channels_last_3d),
            "target": torch.stack([labels for _, labels, _ in drawn]),
            "origins": [origin for _, _, origin in drawn],
        }

    def sample(self, index: int) -> tuple[Tensor, Tensor, Grid3]:
        """Return the image (C, T, H, W), labels (T, H, W) and origin."""
        rng = generator(self.first_seed + index, MIXTURE)
        real = self.real
        if self.healthy is not None and (real is None or chance(rng, self.settings.healthy_share)):
            real = self.healthy
        if chance(rng, self.settings.real_share) and real is not None:
            image, labels, origin, _ = real.sample(index)
        else:
            assert self.heads is not None, "without heads all samples are real"
            image, labels, origin = self.heads.sample(self.first_seed + index)
        image = cut_off(rng, image, self.settings.cut)
        return show_some(rng, image, self.settings.missing), labels.long(), origin


def real_sources(settings: LesionSettings) -> tuple[RealCrops | None, HealthyCrops | None]:
    """Return the sources of real samples, of the run's disease and of healthy tissue.

    Raises:
        InputError: a store or the split cannot be used.
    """
    modalities = [m.key for m in TASKS[settings.task].modalities]
    real = healthy = None
    if settings.store:
        store = open_store(settings.store, modalities)
        real = RealCrops(store, training_cases(settings.split, settings.fold, store), STARTER_FRAME, settings)
    if settings.healthy_store:
        healthy = HealthyCrops(open_store(settings.healthy_store, modalities, more=True), STARTER_FRAME, settings)
    return real, healthy


def open_store(folder: str, modalities: Sequence[str], *, more: bool = False) -> CaseStore:
    """Return the cases of the whole frame with these modalities, in this order; with ``more`` in any, and others too.

    Raises:
        InputError: they are other cases.
    """
    store = CaseStore.open(Path(folder))
    suits = set(modalities) <= set(store.modalities) if more else list(store.modalities) == list(modalities)
    if not suits or store.shape != FRAME.shape:
        wanted = f"{', '.join(modalities)} in the whole brain frame (--size frame)"
        raise InputError(f"{store.folder} must contain {wanted}.")
    return store
