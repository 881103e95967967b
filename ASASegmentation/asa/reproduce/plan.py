"""Plan of a reproduction: units of work and their dependencies.

A reproduction is a folder, in which a unit is a folder too:

    plan.json                 budget, data, seed
    cases/<data set>/         store of labelled cases            (a unit)
    scans/                    store of scans to pre-train on     (a unit)
    pretraining/<method>/     a run                              (a unit)
    rows/<data set>/<system>/ run, predictions, scores.json      (a unit); <system>+1, ... with further seeds
    logs/                     what each unit printed
    index.html, table2.md, ..., figure4.png

``finished.json`` in a unit's folder marks it as complete, so it is not run again. A killed unit is resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from asa.data.cases import Dataset
from asa.data.datasets import dataset_by_name
from asa.errors import InputError
from asa.files import protect_others, read_json, write_json
from asa.pretext import METHODS, Method
from asa.reproduce.budgets import Budget, budget_by_name
from asa.reproduce.published import FIGURE4, PARTS, TABLES, TARGETS, Part, Row, System, Table, tables_of

FORMAT = 1
PLAN, FINISHED, PAGE = "plan.json", "finished.json", "index.html"
SCANS = "scans"
UNIT_PARTS = {"cases": 1, SCANS: 0, "pretraining": 1, "rows": 2}  # kind of a unit -> names after it


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        name: its folder in the reproduction.
        needs: units that must be finished before.
    """

    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is reproduced from what.

    Attributes:
        folder: the reproduction.
        data: data set -> its folder or CSV.
        scans: tree of T1 scans to pre-train on; empty where every encoder is given.
        stripped: whether those scans are stripped already.
        pretrained: method -> a pre-training run made before, used instead of making one.
        seeds: fine-tunings of each row, on one split and from one pre-training.
        mirror: axes mirrored at test; None for those of the budget.
    """

    folder: Path
    budget: str
    data: Mapping[str, str]
    scans: str = ""
    stripped: bool = False
    pretrained: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    seeds: int = 1
    mirror: str | None = None

    @property
    def spending(self) -> Budget:
        """The budget itself."""
        return budget_by_name(self.budget)

    @property
    def mirrored(self) -> str:
        """Axes mirrored at test."""
        return self.spending.mirror if self.mirror is None else self.mirror

    @staticmethod
    def open(folder: Path) -> Plan:
        """Read plan.json.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        path = folder / PLAN
        try:
            values = read_json(path)
            if values.pop("format") > FORMAT:
                raise InputError(f"{folder} was created by a newer version of ASA; update ASA.")
            return Plan(folder, **values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not the plan of a reproduction: {error}") from error

    def checked(self) -> Plan:
        """This plan with what the one in the folder adds to it; nothing is written.

        Raises:
            InputError: an unknown data set, method or budget, or another plan than the one in the folder.
        """
        budget_by_name(self.budget)
        for name in self.data:
            dataset_by_name(name)
        if unknown := sorted(set(self.pretrained) - set(METHODS)):
            raise InputError(f"Unknown methods of pre-training {', '.join(unknown)}; choose from {', '.join(METHODS)}.")
        return self.merged(Plan.open(self.folder)) if (self.folder / PLAN).exists() else self

    def save(self) -> Plan:
        """Write plan.json; data sets and seeds may be added to a plan that is there, nothing else about it may change.

        Raises:
            InputError: as :meth:`checked`.
            OutputError: no room or no permission, or without a plan in it the folder holds a file that is none of ours.
        """
        plan = self.checked()
        if not (self.folder / PLAN).exists():
            protect_others(self.folder / name for name in (PAGE, f"{FIGURE4}.png", *(f"{name}.md" for name in TABLES)))
        values = {k: v for k, v in dataclasses.asdict(plan).items() if k != "folder"}
        write_json(self.folder / PLAN, {"format": FORMAT, **values})
        return plan

    def merged(self, old: Plan) -> Plan:
        """This plan and an older one in the same folder.

        Raises:
            InputError: they contradict one another.
        """
        problems = [
            f"{name} was '{before}' and is '{now}'"
            for name, before, now in (
                ("budget", old.budget, self.budget),
                ("seed", old.seed, self.seed),
                ("mirroring", old.mirror, self.mirror),
            )
            if before != now
        ]
        for before, now in ((old.data, self.data), (old.pretrained, self.pretrained)):
            problems += [f"{k} was {before[k]} and is {now[k]}" for k in now if k in before and before[k] != now[k]]
        if self.scans and old.scans and (self.scans, self.stripped) != (old.scans, old.stripped):
            problems.append(f"the scans were {old.scans} and are {self.scans}, or were stripped and are not")
        if problems:
            raise InputError(
                f"{self.folder} was started with a different plan: {'; '.join(problems)}; choose another folder."
            )
        return dataclasses.replace(
            self,
            data={**old.data, **self.data},
            scans=self.scans or old.scans,
            stripped=self.stripped if self.scans else old.stripped,
            pretrained={**old.pretrained, **self.pretrained},
            seeds=max(old.seeds, self.seeds),
        )

    def dataset(self, part: Part) -> Dataset | None:
        """Return the data set that fills the columns of a part; None where none of its task was given."""
        return next((d for d in map(dataset_by_name, self.data) if d.task == part.task), None)

    # ---- units

    def tables(self, targets: Iterable[str]) -> list[Table]:
        """Tables that the targets need, each once.

        Raises:
            InputError: an unknown target, or one for which no data was given.
        """
        found: dict[str, Table] = {}
        for target in targets:
            if target not in TARGETS:
                raise InputError(f"Unknown target '{target}'; choose from {', '.join(TARGETS)}.")
            for table in tables_of(target):
                if all(self.dataset(part) is None for part in table.parts):
                    wanted = " or ".join(f"{part.benchmark} (task '{part.task}')" for part in table.parts)
                    raise InputError(
                        f"{target} needs the data of {wanted}: --data NAME=FOLDER, as in brats2021=FOLDER."
                    )
                found[table.name] = table
        return list(found.values())

    def units(self, targets: Iterable[str]) -> list[Unit]:
        """Return everything to do, what is needed first coming first.

        Raises:
            InputError: as :meth:`tables`; or an encoder is needed and there are neither scans nor a run of its method.
        """
        cells = [
            (dataset, row)
            for table in self.tables(targets)
            for part in table.parts
            if (dataset := self.dataset(part)) is not None
            for row in table.rows
        ]
        methods = list(dict.fromkeys(row.system.method for _, row in cells if row.system.method))
        made = [method for method in methods if method not in self.pretrained]
        if made and not self.scans:
            raise InputError(
                f"The rows need encoders pre-trained with {', '.join(made)}: give scans to pre-train on (--scans "
                "TREE), or runs made before (--pretrained METHOD=RUN)."
            )
        units = {cases_unit(dataset): Unit(cases_unit(dataset)) for dataset, _ in cells}
        if made:
            units[SCANS] = Unit(SCANS)
        for method in made:
            units[pretraining_unit(method)] = Unit(pretraining_unit(method), (SCANS,))
        for dataset, row in cells:
            needs = [cases_unit(dataset)]
            if row.system.method in made:
                needs.append(pretraining_unit(row.system.method))
            for name in (row_unit(dataset, row.system, repeat) for repeat in range(self.seeds)):
                units[name] = Unit(name, tuple(needs))
        return list(units.values())

    def digest(self, unit: str) -> str:
        """Return a key that changes with the settings of a unit, so that a finished one is not mistaken for another.

        Raises:
            InputError: there is no such unit.
        """
        kind, *rest = unit.split("/")
        budget = self.spending
        about: dict[str, Any] = {"unit": unit}
        if len(rest) != UNIT_PARTS.get(kind):
            raise InputError(f"There is no unit '{unit}'.")
        if kind == "cases":
            about |= {"root": self.data[rest[0]], "shape": budget.case_shape}
            about["stripped"] = PARTS[dataset_by_name(rest[0]).task].stripped
        elif kind == SCANS:
            about |= {"root": self.scans, "stripped": self.stripped, "shape": budget.scan_shape}
        elif kind == "pretraining":
            about |= budget.pretrain_settings(cast(Method, rest[0]), "", self.seed).model_dump(mode="json")
        else:
            task, (system, repeat) = dataset_by_name(rest[0]).task, row_of_key(rest[1])
            given = self.pretrained.get(system.method or "", system.method or "")
            about |= budget.finetune_settings(system, task, "", given, self.seed, repeat).model_dump(mode="json")
            about["mirror"] = self.mirrored
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def finished(self, unit: str) -> bool:
        """Return whether a unit is whole.

        Raises:
            InputError: it was done with other settings.
        """
        path = self.folder / unit / FINISHED
        try:
            found = read_json(path)
        except (OSError, ValueError):
            return False
        if not isinstance(found, dict) or found.get("digest") != self.digest(unit):
            raise InputError(f"{path.parent} was created with different settings; choose another folder.")
        return True


def cases_unit(dataset: Dataset) -> str:
    """Store of labelled cases."""
    return f"cases/{dataset.name}"


def pretraining_unit(method: Method) -> str:
    """Run of one method."""
    return f"pretraining/{method}"


def row_unit(dataset: Dataset, system: System, repeat: int = 0) -> str:
    """Return a system on a data set; ``repeat`` counts its fine-tunings with further seeds."""
    return f"rows/{dataset.name}/{system.key}" + (f"+{repeat}" if repeat else "")


def row_of_key(key: str) -> tuple[System, int]:
    """Return the system of a row's folder, and which of its seeds it is.

    Raises:
        InputError: there is no such row.
    """
    name, _, repeat = key.partition("+")
    if repeat and not repeat.isdecimal():
        raise InputError(f"No row is called '{key}'.")
    return system_by_key(name), int(repeat or 0)


def all_rows() -> list[Row]:
    """Return rows of all tables."""
    return [row for target in TARGETS for table in tables_of(target) for row in table.rows]


def system_by_key(key: str) -> System:
    """Return the system whose folder is called so.

    Raises:
        InputError: there is none.
    """
    for row in all_rows():
        if row.system.key == key:
            return row.system
    raise InputError(f"No row is called '{key}'.")
