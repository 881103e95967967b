"""Sample scan for the module Sample Data."""

from __future__ import annotations

import importlib
from pathlib import Path

_SHA256 = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"
_ICON = Path(__file__).parents[1] / "Resources" / "Icons" / "ASASegmentation.png"


def register() -> None:
    """Add Slicer's sample head to the category of this module, once the application has started."""
    try:
        sample_data = importlib.import_module("SampleData")
    except ImportError:  # an application without that module
        return
    sample_data.SampleDataLogic.registerCustomSampleDataSource(
        category="ASA Brain Segmentation",
        sampleName="MRHead_T1",
        thumbnailFileName=str(_ICON),
        uris=f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{_SHA256}",
        fileNames="MR-head.nrrd",
        nodeNames="MRHead_T1",
        checksums=f"SHA256:{_SHA256}",
    )
