"""`asa reproduce`: plans, scheduling, resuming, tables and the figure; rows of networks that hardly train."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from Testing.engine.labelled_files import save, tumour_head

from asa.cli import build
from asa.errors import Cancelled, InputError, OutputError
from asa.geometry import Alignment
from asa.program import processors
from asa.reproduce import budgets, schedule, work
from asa.reproduce.figure import FIGURE4_COLOURS, draw, strips
from asa.reproduce.page import write_pages
from asa.reproduce.plan import FINISHED, Plan, Unit
from asa.reproduce.published import BASELINE, FIGURE4_COLUMNS, TABLE2, TABLE3, TABLE4, TABLES
from asa.reproduce.schedule import DoneJob, InlineLauncher, LocalLauncher, UnitFailed, run_units
from asa.reproduce.tables import fill, markdown
from asa.training.parallel.distributed import World

HERE = World(0, 1, torch.device("cpu"))
ET, RIGHT = 0.9, 3.0


def plan_of(folder, **changes):
    values = {"budget": "small", "data": {"brats2021": "cases"}, "scans": "t1", **changes}
    return Plan(folder, **values)


def finish(plan, unit, scores=None):
    """Pretend that a unit was done."""
    folder = plan.folder / unit
    folder.mkdir(parents=True)
    (folder / FINISHED).write_text(json.dumps({"digest": plan.digest(unit), "seconds": 30.0}))
    if scores:
        (folder / work.SCORES).write_text(json.dumps(scores))


def scores_of(*dices, hd95=RIGHT, one_empty=0.0):
    distances = {"hd95_mm": hd95, "hd95_pooled_mm": hd95 / 2}
    return {
        f"case{n}": {r: {"dice": d, **distances, "one_empty": one_empty} for r in ("WT", "TC", "ET")}
        for n, d in enumerate(dices)
    }


# ---- what the paper says


def test_published_values_are_those_of_the_paper():
    """Sums over rows and columns, reckoned from the paper's text, as a check of typing."""
    wanted = {"table2": 6 * 6, "table3": 6 * 8, "table4": 6 * 6}
    over_columns = {
        "table2": (297.62, 285.88, 285.95, 291.40, 289.60, 288.72),
        "table3": (358.34, 360.00, 358.48, 359.33, 359.01, 360.03),
        "table4": (290.44, 292.06, 289.89, 289.01, 289.79, 288.72),
    }
    over_rows = {
        "table2": (557.46, 534.50, 499.98, 31.24, 30.82, 85.17),
        "table3": (516.67, 562.54, 553.20, 16.29, 9.62, 8.15, 470.32, 18.40),
        "table4": (563.50, 540.76, 517.06, 22.72, 23.38, 72.49),
    }
    for name, table in ((name, TABLES[name]) for name in wanted):
        numbers = [v for row in table.rows for part in row.published for values in part for v in values]
        assert len(numbers) == wanted[name]
        grid = np.reshape(numbers, (6, -1))
        assert grid.sum(1) == pytest.approx(over_columns[name], abs=1e-6)
        assert grid.sum(0) == pytest.approx(over_rows[name], abs=1e-6)
        for row in table.rows:
            for part, (dice, hd95) in zip(table.parts, row.published, strict=True):
                assert len(dice) == len(hd95) == len(part.anatomies)
                assert all(75 < value < 100 for value in dice)
                assert all(1 < value < 17 for value in hd95)
    assert TABLE2.rows[-1].published == TABLE4.rows[-1].published
    assert TABLE2.rows[-1].system == TABLE4.rows[-1].system  # trained once
    assert TABLE3.rows[1].published[0][1] == (7.84, 1.54, 1.40)
    assert [row.title for row in TABLE2.rows] == ["nnFormer", "TransBTS", "UNETR", "3D-RPL", "3D-Jig", "Ours"]
    assert {title: (row.network, row.method) for title, row in FIGURE4_COLUMNS}["Ours"] == ("asa", "asa")


def test_paper_budget_is_table_1():
    settings = budgets.PAPER.finetune_settings(BASELINE, "tumour", "store", "", 0)
    o = settings.optimisation
    assert (o.optimiser, o.momentum, o.lr, o.weight_decay, o.batch) == ("sgd", 0.99, 0.01, 3e-5, 2)
    assert (o.steps, settings.crop, settings.size, settings.position) == (250_000, (128,) * 3, "paper", "sinusoid")
    pre = budgets.PAPER.pretrain_settings("asa", "store", 0)
    assert (pre.batch, pre.base_lr, pre.weight_decay, pre.mask_ratio) == (96, 1.5e-4, 0.05, 0.75)
    jigsaw = budgets.PAPER.pretrain_settings("jigsaw", "store", 0)
    assert jigsaw.optimisation(1000).lr == pytest.approx(1e-4)
    assert jigsaw.autoencoder().encoder.position == "sinusoid"
    assert (jigsaw.optimiser, jigsaw.optimisation(1000).optimiser, pre.optimiser) == ("adam", "adam", "adamw")
    # patience in passes over 12,000 scans, whatever the batch
    assert [s.timing(12_000).validate_every for s in (pre, jigsaw)] == [125, 1500]
    assert budgets.PAPER.mirror == "thw" and settings.augment.flip == "thw" and settings.augment.blur_p == 0.2


@pytest.mark.parametrize("name", ["paper", "small"])
def test_every_encoder_of_a_budget_fits_its_rows(name):
    """A pre-trained encoder brings the position encoding that the row would have without it."""
    budget = budgets.BUDGETS[name]
    for row in (*TABLE2.rows, *TABLE4.rows):
        if row.system.method:
            encoder = budget.pretrain_settings(row.system.method, "store", 0).autoencoder().encoder
            assert encoder.position == row.system.position


# ---- plans


def test_units_are_shared_and_ordered(tmp_path):
    plan = plan_of(tmp_path, data={"brats2021": "a", "ibsr-tri": "b", "wmh": "c"})
    units = plan.units(["table2", "table3", "table4", "figure4"])
    names = [unit.name for unit in units]
    assert len(names) == len(set(names)) == 3 + 1 + 6 + 11 + 6 + 6
    place = {name: number for number, name in enumerate(names)}
    assert all(place[need] < place[unit.name] for unit in units for need in unit.needs)
    (row,) = [unit for unit in units if unit.name == "rows/wmh/rpl"]
    assert row.needs == ("cases/wmh", "pretraining/rpl")


def test_encoders_made_before_are_used(tmp_path):
    plan = plan_of(tmp_path, scans="", pretrained={"asa": "runs/paper"})
    with pytest.raises(InputError, match=r"pre-trained with rpl, jigsaw.*--scans"):
        plan.units(["table2"])
    given = plan_of(tmp_path, scans="", pretrained={"asa": "x", "rpl": "y", "jigsaw": "z"})
    assert not [unit for unit in given.units(["table2"]) if unit.name.startswith(("pretraining", "scans"))]


@pytest.mark.parametrize(
    ("changes", "targets", "message"),
    [
        ({}, ["table3"], "table3 needs the data of IBSR .* or WMH"),
        ({}, ["table9"], "Unknown target"),
        ({"budget": "huge"}, ["table2"], "Unknown budget"),
        ({"data": {"brats1999": "x"}}, ["table2"], "Unknown data set"),
        ({"pretrained": {"simclr": "x"}}, ["table2"], "Unknown methods"),
    ],
)
def test_what_cannot_be_planned_is_said(tmp_path, changes, targets, message):
    with pytest.raises(InputError, match=message):
        plan_of(tmp_path, **changes).save().units(targets)


def test_a_plan_may_grow_but_not_change(tmp_path):
    plan_of(tmp_path).save()
    grown = plan_of(tmp_path, data={"ibsr-tri": "heads"}, scans="").save()
    assert grown == Plan.open(tmp_path)
    assert grown.data == {"brats2021": "cases", "ibsr-tri": "heads"}
    assert grown.scans == "t1"
    for change in ({"budget": "paper"}, {"data": {"brats2021": "other"}}, {"seed": 1}, {"stripped": True}):
        with pytest.raises(InputError, match="started with a different plan"):
            plan_of(tmp_path, **change).save()


@pytest.mark.parametrize("name", ["index.html", "table2.md", "figure4.png"])
def test_files_of_others_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("a page of one's own")
    with pytest.raises(OutputError, match=f"{name} already exists"):
        plan_of(tmp_path).save()
    assert (tmp_path / name).read_text() == "a page of one's own" and not (tmp_path / "plan.json").exists()
    (tmp_path / name).unlink()
    plan_of(tmp_path).save()
    (tmp_path / name).write_text("ours")
    plan_of(tmp_path).save()  # pages of a plan that is there are written again


def test_a_unit_made_with_other_settings_is_not_taken_for_this_one(tmp_path):
    plan = plan_of(tmp_path)
    unit = "rows/brats2021/asa"
    assert not plan.finished(unit)
    finish(plan, unit)
    assert plan.finished(unit)
    with pytest.raises(InputError, match="different settings"):
        plan_of(tmp_path, seed=3).finished(unit)
    work.begin(tmp_path / "half", "a")
    with pytest.raises(InputError, match="started with different settings"):
        work.begin(tmp_path / "half", "b")


# ---- scheduling


class Slots:
    """Launcher whose units end after a few looks, well or not."""

    def __init__(self, plan, slots, broken=()):
        self.plan, self.slots, self.broken = plan, slots, broken
        self.at_once, self.most, self.order = 0, 0, []

    def start(self, unit, slot):
        outer, left = self, [2]
        self.order.append(unit)
        self.at_once += 1
        self.most = max(self.most, self.at_once)

        class Job:
            def over(self):
                left[0] -= 1
                if left[0] == 0:
                    outer.at_once -= 1
                    if unit not in outer.broken:
                        finish(outer.plan, unit)
                return left[0] <= 0

            def failure(self):
                return "out of memory" if unit in outer.broken else ""

            def stop(self):
                left[0] = 1

        return Job()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(schedule, "POLL_S", 0.0)


def test_units_run_when_what_they_need_is_done(tmp_path):
    plan = plan_of(tmp_path)
    units = plan.units(["table2"])
    slots, said = Slots(plan, 3), []
    run_units(plan, units, slots, said.append)
    assert slots.most == 3
    for unit in units:
        assert all(slots.order.index(need) < slots.order.index(unit.name) for need in unit.needs)
    again = Slots(plan, 3)
    run_units(plan, units, again, said.append)
    assert again.order == []


def test_a_failure_stops_only_what_needs_it(tmp_path):
    plan = plan_of(tmp_path)
    slots = Slots(plan, 2, broken=("pretraining/rpl",))
    with pytest.raises(UnitFailed) as caught:
        run_units(plan, plan.units(["table2"]), slots, lambda _: None)
    assert "pretraining/rpl: out of memory" in str(caught.value)
    assert "rows/brats2021/rpl: needs pretraining/rpl" in str(caught.value)
    assert plan.finished("rows/brats2021/asa")
    assert "rows/brats2021/rpl" not in slots.order


def test_units_in_this_process_fail_or_stop_alone(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    monkeypatch.setattr(schedule, "do_unit", lambda plan, unit, world: finish(plan, unit))
    run_units(plan, [Unit("scans")], InlineLauncher(plan), lambda _: None)
    assert plan.finished("scans")

    def broken(plan, unit, world):
        raise InputError("no such tree")

    monkeypatch.setattr(schedule, "do_unit", broken)
    with pytest.raises(UnitFailed, match="no such tree"):
        run_units(plan, [Unit("cases/brats2021")], InlineLauncher(plan), lambda _: None)

    def stopped(plan, unit, world):
        raise Cancelled("stopped")

    monkeypatch.setattr(schedule, "do_unit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_units(plan, [Unit("cases/brats2021")], InlineLauncher(plan), lambda _: None)
    assert DoneJob("").over()


def test_devices_become_command_lines(tmp_path):
    launcher = LocalLauncher(tmp_path, ["cpu", "1", "2,3"], threads=1)
    command, environment = launcher.command("scans", "cpu")
    assert command[:5] == [sys.executable, "-m", "asa", "reproduce", "--unit"]
    assert command[-2:] == ["--device", "cpu"]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert LocalLauncher(tmp_path, ["cpu"], threads=100_000).threads == processors()
    assert launcher.command("scans", "1")[1]["CUDA_VISIBLE_DEVICES"] == "1"
    shared, environment = launcher.command("scans", "2,3")
    assert shared[shared.index("--nproc-per-node") + 1] == "2"
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_a_process_that_fails_says_its_last_line(tmp_path):
    plan = plan_of(tmp_path, data={"brats2021": str(tmp_path / "nowhere")}).save()
    launcher = LocalLauncher(plan.folder, ["cpu"])
    with pytest.raises(UnitFailed, match=r"nowhere does not exist.*cases_brats2021.log"):
        run_units(plan, [Unit("cases/brats2021")], launcher, lambda _: None)
    with pytest.raises(InputError, match="There is no unit"):
        plan.digest("nothing")


# ---- tables


def test_tables_hold_ours_published_and_difference(tmp_path):
    plan = plan_of(tmp_path)
    finish(plan, "rows/brats2021/asa", scores_of(0.9, 0.8))
    finish(plan, "rows/brats2021/unetr", scores_of(0.5, 0.5, hd95=373.13, one_empty=1.0))
    filled = fill(plan, TABLE2)
    ours = dict(filled.rows)["Ours"]
    assert ours[0].texts == ("85.00", "94.03", "−9.03")
    assert ours[3].texts == ("3.00", "3.61", "−0.61")
    assert ours[6].texts == ("1.50", "3.61", "−2.11")  # pooled
    assert ours[0].best
    assert not dict(filled.rows)["UNETR"][0].best
    assert dict(filled.rows)["nnFormer"][0].texts == ("–", "91.46", "–")
    assert "UNETR, WT of BraTS 2021: exactly one of the two masks was empty in 2" in filled.notes
    text = markdown(filled, plan.spending.stamp)
    assert "REHEARSAL, not a result" in text
    assert "| Ours | ours | **85.00** |" in text
    assert "BraTS 2021; 2 test cases (case0, case1)" in text
    assert "## Ours against the others on BraTS 2021" in text
    assert "| WT | Dice (%) | UNETR | +35.00 | 0.5000 | 0.5000 |" in text


def test_further_seeds_are_further_rows_with_a_spread_and_paired_statistics(tmp_path):
    plan = budgets.dataclasses.replace(plan_of(tmp_path), seeds=2)
    names = [unit.name for unit in plan.units(["table2"])]
    assert "rows/brats2021/asa+1" in names and "rows/brats2021/asa+2" not in names
    one, other = (
        plan.spending.finetune_settings(BASELINE, "tumour", "store", "", plan.seed, repeat) for repeat in (0, 1)
    )
    assert (one.optimisation.seed, other.optimisation.seed) == (plan.seed, plan.seed + 1)
    assert one.split_seed == other.split_seed
    for unit, dices in {"asa": (0.9, 0.8), "asa+1": (0.7, 0.6), "unetr": (0.5, 0.5)}.items():
        finish(plan, f"rows/brats2021/{unit}", scores_of(*dices))
    filled = fill(plan, TABLE2)
    assert dict(filled.rows)["Ours"][0].texts == ("75.00 ± 14.14", "94.03", "−19.03")
    assert filled.statistics[0].rows[0][:4] == ("WT", "Dice (%)", "UNETR", "+25.00")
    assert "2 seeds per row" in filled.data[0]
    with pytest.raises(InputError, match=r"No row is called 'asa\+x'"):
        plan.digest("rows/brats2021/asa+x")


def test_scores_of_an_earlier_version_have_no_pooled_distance(tmp_path):
    plan = plan_of(tmp_path)
    scores = scores_of(0.9)
    for region in scores["case0"].values():
        del region["hd95_pooled_mm"]
    finish(plan, "rows/brats2021/asa", scores)
    ours = dict(fill(plan, TABLE2).rows)["Ours"]
    assert [one.texts[0] for one in ours[3:7:3]] == ["3.00", "–"]


def test_pages_are_stamped_and_complete(tmp_path):
    plan = plan_of(tmp_path).save()
    finish(plan, "rows/brats2021/asa", scores_of(0.9))
    written = write_pages(plan, ["table2", "table4", "figure4"])
    assert [path.name for path in written] == ["table2.md", "table4.md", "index.html"]  # the figure has no case
    page = (tmp_path / "index.html").read_text()
    for part in ("REHEARSAL, not a result", "colspan='3'", "94.03", "−4.03", "<p>Figure 4:", "w/ SPE&amp;SSL"):
        assert part in page
    assert "0.5 minutes" in page


def test_rows_that_the_paper_does_not_have_are_not_compared_with_it(tmp_path):
    plan = plan_of(tmp_path)
    finish(plan, "rows/brats2021/resenc", scores_of(0.9))
    filled = fill(plan, TABLES["yardstick"])
    assert filled.rows[0][1][0].texts == ("90.00", "–", "–")
    assert "pretraining/resenc" in [unit.name for unit in plan.units(["yardstick"])]


def test_a_table_with_one_of_its_data_sets(tmp_path):
    plan = plan_of(tmp_path, data={"ibsr-tri": "heads"})
    filled = fill(plan, TABLE3)
    assert len(filled.rows[0][1]) == len(filled.columns) == 12
    assert any("WMH: no data were given" in text for text in filled.data)


# ---- end to end


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The baseline row on two synthetic cases, three steps, through the command; then called again."""
    root = tmp_path_factory.mktemp("reproduce")
    for seed in range(2):
        tumour_head(root / "brats", f"BraTS2021_{seed:05d}", seed)
    with pytest.MonkeyPatch.context() as patch:
        optimisation = {**budgets.SMALL.finetuning["optimisation"], "steps": 2, "warmup_steps": 0}
        quick = {**budgets.SMALL.finetuning, "optimisation": optimisation}
        few = budgets.dataclasses.replace(
            budgets.SMALL, case_shape=(32, 64, 64), shares={"tumour": (1, 0, 1)}, finetuning=quick
        )
        patch.setitem(budgets.BUDGETS, "small", few)
        patch.setattr("asa.data.case_store.align_to_frame", lambda _scan: Alignment(np.eye(4), "identity", 1.0))
        table = budgets.dataclasses.replace(TABLE4, rows=(TABLE4.rows[0],))
        patch.setitem(TABLES, "table4", table)
        arguments = ["reproduce", "table4", "--budget", "small", "--data", f"brats2021={root / 'brats'}"]
        arguments += ["-o", str(root / "out"), "--threads", "1"]
        build()(args=arguments, standalone_mode=False)
        before = (root / "out/rows/brats2021/baseline" / FINISHED).stat().st_mtime_ns
        build()(args=arguments, standalone_mode=False)
        assert (root / "out/rows/brats2021/baseline" / FINISHED).stat().st_mtime_ns == before
        yield root


def test_a_row_from_files_to_the_table(rehearsed):
    row = rehearsed / "out/rows/brats2021/baseline"
    scores = json.loads((row / work.SCORES).read_text())
    (case,) = scores
    assert 0 <= scores[case]["WT"]["dice"] <= 1
    from asa.volume import read_volume

    predicted = read_volume(row / work.PREDICTIONS / f"{case}.nii.gz", labels=True)
    reference = read_volume(rehearsed / "brats" / case / f"{case}_seg.nii.gz", labels=True)
    assert predicted.grid.same_as(reference.grid)
    assert 0 <= json.loads((row / work.PREDICTIONS / "prediction.json").read_text())["expected_calibration_error"] <= 1
    assert (
        f"| Baseline | ours | **{100 * scores[case]['WT']['dice']:.2f}** |" in (rehearsed / "out/table4.md").read_text()
    )


def test_the_figure_shows_cases_by_systems(rehearsed, tmp_path):
    plan = Plan(tmp_path, "small", {"brats2021": str(rehearsed / "brats")}, "t1")
    for title, system in FIGURE4_COLUMNS[:2]:
        unit = f"rows/brats2021/{system.key}"
        finish(plan, unit)
        labels = np.zeros((48, 48, 48), np.uint8)
        labels[20:28, 20:28, 20:28] = 3 if title == "Ours" else 1
        save(plan.folder / unit / work.PREDICTIONS / "BraTS2021_00001.nii.gz", labels, (2, 2, 2), (-48, -65, -43))
    (strip,) = strips(plan)
    assert strip.case == "BraTS2021_00001"
    assert len(strip.labels) == 7
    assert [labels is None for labels in strip.labels] == [False] * 3 + [True] * 4
    assert set(np.unique(strip.labels[0])) == {0, 1, 2, 3}
    page = draw([strip], "REHEARSAL")
    assert isinstance(page, Image.Image)
    colours = {colour for _, colour in page.getcolors(1 << 20)}
    assert set(FIGURE4_COLOURS.values()) <= colours
    assert (200, 30, 30) in colours  # the band that says it is a rehearsal
    assert (200, 30, 30) not in {colour for _, colour in draw([strip]).getcolors(1 << 20)}


def test_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(InputError, match="NAME=FOLDER"):
        build()(args=["reproduce", "table2", "--data", "brats", "-o", str(tmp_path)], standalone_mode=False)
    with pytest.raises(InputError, match="twice"):
        arguments = ["reproduce", "table2", "--data", "a=b", "--data", "a=c", "-o", str(tmp_path)]
        build()(args=arguments, standalone_mode=False)
