"""Sample scans for the module Sample Data, one for each task."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

_CATEGORY = "ASA Brain Segmentation"
_ICON = Path(__file__).parents[1] / "Resources" / "Icons" / "ASASegmentation.png"
_HEAD = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
# Addresses name a commit, so that what they lead to cannot change.
_GLIOMA = (
    "https://github.com/AlyssaAmod/UNN_BraTS23/raw/66ff760c7d263c088e6e22bd1900ed8246bf2f43/data/"
    "ASNR-MICCAI-BraTS2023-SSA-Challenge-TrainingData/BraTS-SSA-00007-000/BraTS-SSA-00007-000-{}.nii.gz"
)
_LESIONS = (
    "https://github.com/muschellij2/open_ms_data/raw/65704901f60650824565aa5a4818611aa89716f4/"
    "cross_sectional/MNI/patient07/{}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
)


@dataclass(frozen=True)
class Sample:
    """A sample scan: `files` are the address, the name of the volume in the scene, and the SHA-256 checksum of each.

    `megabytes` is the size of the download.
    """

    name: str
    megabytes: int
    files: tuple[tuple[str, str, str], ...]


def _head(checksum: str) -> tuple[str, str, str]:
    return _HEAD + checksum, "MRHead_T1", checksum


# By task. The tutorial for clinicians says where they are from and under which terms.
SAMPLES = {
    "tissue": Sample("MRHead_T1", 4, (_head("cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),)),
    "tumour": Sample(
        "Glioma",
        16,
        (
            (_GLIOMA.format("t1n"), "Glioma_T1", "44536caa05aadce995b2254367996168291f570be9c91b609140d73897ad8df4"),
            (_GLIOMA.format("t1c"), "Glioma_T1Gd", "9f59a73dd210ea99814d1db671d919938f251ae344b32cd9ee4d5e683d8e82a1"),
            (_GLIOMA.format("t2w"), "Glioma_T2", "c7370efbf1233b92b362c37e0ed81d84ebbd268722718d82828d5ae4c1227d90"),
            (_GLIOMA.format("t2f"), "Glioma_FLAIR", "d4f0b292e319b56c03555ec31871d27d4a9c3f97809f7fb6ca5cff1b85a8506c"),
        ),
    ),
    "wmh": Sample(
        "MS_lesions",
        8,
        (
            (_LESIONS.format("T1"), "MS_T1", "0d9e0c933140e64ba42931f5ed7aece2a7cc7001fe6c8d753720c487f5e1b8b1"),
            (_LESIONS.format("FLAIR"), "MS_FLAIR", "2f884f00d4e9cbca061a5fd2f988547df312d86194b331f4ca511cf852f775db"),
        ),
    ),
}


class SampleError(Exception):
    """A sample cannot be loaded; the message is for the user."""


def register() -> None:
    """Add the samples to the module Sample Data, once the application has started."""
    try:
        sample_data = importlib.import_module("SampleData")
    except ImportError:  # an application without that module
        return
    for sample in SAMPLES.values():
        addresses, names, checksums = (list(parts) for parts in zip(*sample.files, strict=True))
        sample_data.SampleDataLogic.registerCustomSampleDataSource(
            category=_CATEGORY,
            sampleName=sample.name,
            thumbnailFileName=str(_ICON),
            uris=addresses,
            fileNames=[name + (".nii.gz" if ".nii" in address else ".nrrd") for address, name, _sum in sample.files],
            nodeNames=names,
            checksums=[f"SHA256:{checksum}" for checksum in checksums],
        )


def load(task: str) -> None:
    """Download the sample of a task, unless it is in Slicer's cache, and load it.

    Raises:
        SampleError: it cannot be downloaded or loaded.
    """
    try:
        nodes = importlib.import_module("SampleData").downloadSamples(SAMPLES[task].name)
    except ImportError:
        raise SampleError(_("This application has no module Sample Data.")) from None
    except Exception as error:  # whatever the network, the cache or a reader raises
        text = _("The sample could not be loaded: {reason}. Is there an internet connection?")
        raise SampleError(text.format(reason=str(error).rstrip("."))) from error
    if not nodes or None in nodes:
        raise SampleError(_("The sample could not be loaded. Is there an internet connection?"))
