"""Registry of the supported data sets."""

from __future__ import annotations

from asa.data.brats import RELEASES, brats
from asa.data.cases import Dataset, generic_dataset
from asa.data.folder import find_folder
from asa.data.ibsr import ibsr
from asa.data.nnunet import nnunet
from asa.data.wmh import wmh2017
from asa.errors import InputError
from asa.tasks import TASKS

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *(brats(year) for year in RELEASES),
        ibsr("tri", "segTRI_ana"),
        ibsr("fill", "segTRI_fill_ana"),
        wmh2017(),
        *(nnunet(task) for task in TASKS),
        *(generic_dataset(task, find_folder) for task in TASKS.values()),
    )
}


def dataset_by_name(name: str) -> Dataset:
    """Return the data set called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in DATASETS:
        raise InputError(f"Unknown data set '{name}'; choose from {', '.join(DATASETS)}.")
    return DATASETS[name]
