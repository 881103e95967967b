"""Tables 2, 3 and 4 of the paper (Huang et al., MICCAI 2022): layout, compared systems, and every published value."""

from __future__ import annotations

from dataclasses import dataclass

from asa.nn.position import Scheme
from asa.pretext import Method

Values = tuple[float, ...]


@dataclass(frozen=True)
class System:
    """What a row was trained as.

    Attributes:
        key: its folder; one system in several tables is trained once.
        network: name in the registry of networks.
        method: pre-training its encoder starts from; empty: none.
        position: encoding of asa; a pre-trained encoder brings the one of its method, which is the same.
    """

    key: str
    network: str = "asa"
    method: Method | None = None
    position: Scheme = "sinusoid"


@dataclass(frozen=True)
class Part:
    """Columns of a table that belong to one benchmark.

    Attributes:
        benchmark: as the paper calls it.
        task: key of :data:`asa.tasks.TASKS`; any data set of this task can fill the columns.
        modalities: images the paper used.
        anatomies: heading of a column -> regions of the task it may mean; the first that the data set marks counts.
        stripped: whether its scans are published without skull, so that intensities are those of the brain.
    """

    benchmark: str
    task: str
    modalities: tuple[str, ...]
    anatomies: dict[str, tuple[str, ...]]
    stripped: bool = True


@dataclass(frozen=True)
class Row:
    """One system: Dice (%) of every anatomy, then HD95 (mm) of every anatomy, for each part of the table.

    ``published`` is empty where the paper has no such row.
    """

    title: str
    system: System
    published: tuple[tuple[Values, Values], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as published; ``rule_after``: rows (from 1) below which it has a line."""

    name: str
    title: str
    parts: tuple[Part, ...]
    rows: tuple[Row, ...]
    rule_after: tuple[int, ...]


NNFORMER, TRANSBTS, UNETR = System("nnformer", "nnformer"), System("transbts", "transbts"), System("unetr", "unetr")
RPL, JIGSAW = System("rpl", method="rpl"), System("jigsaw", method="jigsaw")
ASA = System("asa", method="asa", position="symmetric")
BASELINE, SPE = System("baseline"), System("spe", position="symmetric")
SSL, A_SSL = System("ssl", method="mae"), System("a-ssl", method="a-ssl")
SPE_SSL = System("spe-ssl", method="spe-ssl", position="symmetric")

BRATS = Part("BraTS 2021", "tumour", ("t1", "t1gd", "t2", "flair"), {"WT": ("WT",), "TC": ("TC",), "ET": ("ET",)})
# CSF of IBSR is mostly the ventricles, and so the task's ventricular CSF
IBSR = Part("IBSR", "tissue", ("t1",), {"CSF": ("CSF", "ventricles"), "GM": ("GM",), "WM": ("WM",)})
WMH = Part("WMH", "wmh", ("t1",), {"WMH": ("WMH",)}, stripped=False)

PARTS = {part.task: part for part in (BRATS, IBSR, WMH)}

TABLE2 = Table(
    "table2",
    "Table 2: comparison on the BraTS 2021 data set",
    (BRATS,),
    (
        Row("nnFormer", NNFORMER, (((91.46, 87.42, 82.22), (10.15, 9.59, 16.78)),)),
        Row("TransBTS", TRANSBTS, (((92.06, 88.20, 79.46), (4.98, 4.86, 16.32)),)),
        Row("UNETR", UNETR, (((92.12, 88.32, 79.61), (4.91, 4.67, 16.32)),)),
        Row("3D-RPL", RPL, (((93.92, 90.13, 85.92), (3.74, 3.98, 13.71)),)),
        Row("3D-Jig", JIGSAW, (((93.87, 90.14, 86.01), (3.85, 3.94, 11.79)),)),
        Row("Ours", ASA, (((94.03, 90.29, 86.76), (3.61, 3.78, 10.25)),)),
    ),
    (3,),
)
TABLE3 = Table(
    "table3",
    "Table 3: comparison on the IBSR and WMH data sets",
    (IBSR, WMH),
    (
        Row("nnFormer", NNFORMER, (((87.31, 93.81, 92.12), (1.52, 1.52, 1.21)), ((78.04,), (2.81,)))),
        Row("TransBTS", TRANSBTS, (((81.42, 93.91, 92.17), (7.84, 1.54, 1.40)), ((78.81,), (2.91,)))),
        Row("UNETR", UNETR, (((86.75, 93.49, 91.86), (1.64, 1.74, 1.48)), ((77.99,), (3.53,)))),
        Row("3D-RPL", RPL, (((86.63, 93.85, 92.50), (1.83, 1.54, 1.29)), ((78.63,), (3.06,)))),
        Row("3D-Jig", JIGSAW, (((86.93, 93.57, 92.11), (2.00, 1.74, 1.44)), ((77.86,), (3.36,)))),
        Row("Ours", ASA, (((87.63, 93.91, 92.44), (1.46, 1.54, 1.33)), ((78.99,), (2.73,)))),
    ),
    (3,),
)
TABLE4 = Table(
    "table4",
    "Table 4: ablation study on BraTS 2021",
    (BRATS,),
    (
        Row("Baseline", BASELINE, (((93.75, 89.76, 84.98), (3.93, 4.09, 13.93)),)),
        Row("w/ SSL", SSL, (((94.02, 90.28, 86.25), (4.01, 4.06, 13.44)),)),
        Row("w/ A-SSL", A_SSL, (((93.95, 90.24, 86.38), (3.84, 3.79, 11.69)),)),
        Row("w/ SPE", SPE, (((93.90, 90.15, 85.86), (3.69, 3.82, 11.59)),)),
        Row("w/ SPE&SSL", SPE_SSL, (((93.85, 90.04, 86.83), (3.64, 3.84, 11.59)),)),
        Row("w/ ASA (Ours)", ASA, (((94.03, 90.29, 86.76), (3.61, 3.78, 10.25)),)),
    ),
    (3,),
)
RESENC, RESENC_SSL = System("resenc", "resenc"), System("resenc-ssl", "resenc", method="resenc")
YARDSTICK = Table(
    "yardstick",
    "Not in the paper: a residual-encoder U-Net of nnU-Net in the same trainer",
    (BRATS, IBSR, WMH),
    (
        Row("ResEnc U-Net (L)", RESENC),
        Row("ResEnc U-Net (L), attentive masked pre-training", RESENC_SSL),
        Row("Ours", ASA),
    ),
    (2,),
)
TABLES = {table.name: table for table in (TABLE2, TABLE3, TABLE4, YARDSTICK)}

# Fig. 4: its columns in the order of the paper's text; the reference comes first.
FIGURE4_COLUMNS = (
    ("Ours", ASA), ("nnFormer", NNFORMER), ("TransBTS", TRANSBTS), ("UNETR", UNETR), ("Jig", JIGSAW), ("RPL", RPL),
)  # fmt: skip
# Blue for ET is the paper's word; the two others are those of the figure of TransBTS, which it compares with.
FIGURE4_COLOURS = {"ED": (60, 179, 75), "NCR": (220, 50, 47), "ET": (50, 110, 255)}
FIGURE4 = "figure4"
TARGETS = (*TABLES, FIGURE4)


def tables_of(target: str) -> tuple[Table, ...]:
    """Tables whose rows a target needs: the figure shows the systems of Table 2."""
    return (TABLE2,) if target == FIGURE4 else (TABLES[target],)
