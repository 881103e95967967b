"""Segment one head with a compared system; run by the Python of the peers' environment.

    PEERS/bin/python peers.py {atropos|n4-atropos|hmrf} IMAGE OUTPUT [--threads N]

IMAGE is a brain-stripped T1 (background 0). OUTPUT is a label map on its grid: 1 CSF, 2 grey, 3 white matter. Beside
it, OUTPUT.json holds the versions, the seconds of each stage and the peak resident memory of this process. Nothing of
the project is imported here: the two environments exchange NIfTI files only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CLASSES = 3


def by_intensity(classes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Renumber classes so that their mean intensities rise: CSF < grey < white in T1. 0 stays background."""
    import numpy as np

    means = [image[classes == value].mean() if (classes == value).any() else -1.0 for value in range(1, CLASSES + 1)]
    table = np.zeros(CLASSES + 1, dtype=np.uint8)
    table[1 + np.argsort(means)] = np.arange(1, CLASSES + 1)
    return table[classes]


def atropos(path: Path, *, correct: bool) -> tuple[np.ndarray, dict[str, float]]:
    """Atropos with k-means initialisation and antspyx's own Markov random field, after N4 where ``correct``.

    The brain's intensities are cut at their 1st and 99.9th percentiles, as ANTs' own pipelines do: without it k-means
    gives a class of its own to a few bright vessels on one or two of the heads, and Dice falls to 0 there.

    Returns the classes in the voxel order of the file, as nibabel sees it, and the seconds of each stage.
    """
    import ants
    import numpy as np
    from scipy import ndimage

    image = ants.image_read(str(path))
    inside = ndimage.binary_fill_holes(image.numpy() > 0)
    mask = image.new_image_like(inside.astype(np.float32))
    seconds = {}
    start = time.perf_counter()
    if correct:
        image = ants.n4_bias_field_correction(image, mask=mask)
        seconds["n4"] = time.perf_counter() - start
        start = time.perf_counter()
    values = image.numpy()
    image = image.new_image_like(values.clip(*np.percentile(values[inside], [1.0, 99.9])).astype(np.float32))
    result = ants.atropos(a=image, x=mask, i=f"kmeans[{CLASSES}]", m="[0.2,1x1x1]", c="[5,0]")
    seconds["atropos"] = time.perf_counter() - start
    classes = result["segmentation"].numpy().astype(np.uint8)
    return by_intensity(classes, image.numpy()), seconds


def hmrf(path: Path) -> tuple[np.ndarray, dict[str, float]]:
    """dipy's hidden Markov random field classifier with the settings of its tutorial (beta 0.1).

    Returns the classes in the voxel order of the file and the seconds of the classification.
    """
    import nibabel
    import numpy as np
    from dipy.segment.tissue import TissueClassifierHMRF

    image = np.asarray(nibabel.load(path).dataobj, dtype=np.float64)
    start = time.perf_counter()
    _, classes, _ = TissueClassifierHMRF(verbose=False).classify(image, CLASSES, beta=0.1)
    seconds = {"hmrf": time.perf_counter() - start}
    classes = np.where(image > 0, classes, 0).astype(np.uint8)
    return by_intensity(classes, image), seconds


SYSTEMS = {
    "atropos": (partial(atropos, correct=False), "antspyx"),
    "n4-atropos": (partial(atropos, correct=True), "antspyx"),
    "hmrf": (hmrf, "dipy"),
}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("image", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    # Read when the libraries are loaded, hence before the imports inside the functions.
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)

    start = time.perf_counter()
    import nibabel

    function, package = SYSTEMS[arguments.system]
    classes, seconds = function(arguments.image)
    source = nibabel.load(arguments.image)
    nibabel.save(nibabel.Nifti1Image(classes, source.affine), arguments.output)
    seconds["total"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    record = {
        "system": arguments.system,
        "version": f"{package} {importlib.metadata.version(package)}",
        "threads": arguments.threads,
        "seconds": seconds,
        "peak_bytes": peak,
    }
    arguments.output.with_name(arguments.output.name + ".json").write_text(
        json.dumps(record, indent=1), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
