"""The notebooks run to their end, every figure has alt text, and their sentences are true.

With the shipped checkpoint `tiny` where there is one, else with an untrained network.
"""

import json
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lessons
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

import slerlib
from slerlib import config
from slerlib.analysis import geometry
from slerlib.analysis.store import Traces
from slerlib.checkpoint import save_weights, weights_file
from slerlib.data.scenes import photographs
from slerlib.report import runs as report
from slerlib.train import background

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
# ipykernel and its neighbours warn about their own event loops and sockets
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


#: The three words of lesson 00, and what they are about
VERDICT = re.compile(r"Verdict: (holds|contradicted|not shown), for th")


def shipped() -> bool:
    try:
        return weights_file("tiny").is_file()
    except slerlib.UserError:
        return False


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLERLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def ran(untrained, tmp_path):
    """ran(notebook, **parameters) -> (text, alt texts); lessons.execute, with the files in tmp_path."""

    def ran(notebook, **parameters):
        parameters = {"checkpoint": "tiny" if shipped() else str(untrained)} | parameters
        seen = lessons.execute(notebook, tmp_path, **parameters)
        return seen.text, seen.alts

    return ran


def alt_texts(page: str) -> list[str]:
    images = re.findall(r"<img [^>]*?>", page)
    alts = [re.search(r'alt="([^"]*)"', image) for image in images]
    assert all(alts), [image[-200:] for image, alt in zip(images, alts, strict=True) if not alt]
    return [alt[1] for alt in alts]


@pytest.fixture(scope="module")
def evaluation(untrained, tmp_path_factory):
    """The evaluation report through papermill and a kernel, with its page; the other notebooks run without."""
    parameters = {"checkpoint": "tiny" if shipped() else str(untrained), "images": 1}
    (record,) = report.run("evaluation", parameters, tmp_path_factory.mktemp("runs"), say=lambda line: None)
    assert record["state"] == "done", record["error"]
    cells = nbformat.read(record["folder"] / "notebook.ipynb", 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    words = [o.text if o.output_type == "stream" else o.get("data", {}).get("text/plain", "") for o in outputs]
    return record, record["page"].read_text(), "\n".join(words)


def test_the_evaluation_report_shows_its_figures_with_alt_text(evaluation):
    record, page, _ = evaluation
    starts = [alt.partition(".")[0].split(" ")[0:2] for alt in alt_texts(page)]
    assert starts == [
        ["Mean", "PSNR"],
        ["Photographs,", "each"],
        ["Expert", "chosen"],
        ["Images", "and"],
        ["Mean", "angle"],
        ["Mean", "PSNR"],
    ]
    assert len(page) < 4_000_000
    assert (record["folder"] / "notebook.ipynb").stat().st_size < 1_500_000


def test_its_sentences_come_from_the_scores(evaluation):
    record, page, text = evaluation
    results = json.loads((record["folder"] / "results.json").read_text())
    assert [row["task"] for row in results["rows"]] == list(slerlib.config.CLASSES)
    average = results["average"]
    assert f"{average['psnr']:.2f} instead of {average['psnr_input']:.2f} dB on average; too few photographs" in text
    for row in results["rows"]:
        assert f"{row['psnr']:.2f}" in page and row["path"] in text and f"{row['margin']:.3f}" in text
    assert "shown to be below the input, by its interval: none;" in text, "one picture shows nothing"
    assert re.search(r"\d of 7 damaged pictures come back worse than their input", text)
    flagged = re.search(r"\*\*(\d+) of 8 images are flagged", text)
    lowest = min(limit.margin for limit in slerlib.load("tiny", "cpu").router.limits.values())  # of all classes
    assert sum(row["margin"] < lowest for row in results["rows"]) <= int(flagged[1]) <= 8
    assert "no score here can be compared with a published one" in text and "The smallest n is 1: too few for" in text
    assert "There is no interval of the average: demo with fewer than 5 images." in text


def test_it_shows_several_damages_at_once_and_damage_in_a_part(evaluation):
    record, page, text = evaluation
    mixed, local = (json.loads((record["folder"] / f"{name}.json").read_text()) for name in ("mixed", "local"))
    assert len(mixed["rows"]) == 8 and len(local["rows"]) == 15 and mixed["crop"] == local["crop"] == "center256"
    assert f"the restored picture **{mixed['average']['psnr']:.2f} dB** on average" in text
    rain = np.mean([row["psnr_damaged"] for row in local["rows"] if row["task"].startswith("rain@")])
    assert f"restored: in a part {rain:.1f} dB, n = 1" in page


def test_the_evaluation_report_takes_pairs_of_ones_own(ran, tmp_path):
    for scene in photographs()[:2]:
        clean = scene.image[:, :96, :112].contiguous()
        for folder, image in (("input", slerlib.degrade(clean, "haze", seed=1)), ("target", clean)):
            (tmp_path / "night" / folder).mkdir(parents=True, exist_ok=True)
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / "night" / folder / f"{scene.name}.png")
    text, alts = ran("report_evaluation", setting="pairs", data=str(tmp_path / "night"))
    assert len(alts) == 5 and "2 images of 2 photographs" in text
    assert "made by formula" not in text and "no benchmark" not in text
    assert "This section is left out: it needs clean photographs" in text


def test_the_first_lesson_runs_and_answers_its_claim(ran):
    text, alts = ran("00_start_here", images=2)
    assert len(alts) == 13, "six figures, and the still twins of three explorers"
    assert (
        len(re.findall(r"clean cat, (as it is|at a third of its size): nearest is \w+, \d+ degrees; clean \d+", text))
        == 2
    )
    assert text.count("Nothing was done to it, ") == 1
    assert "8 of 8 layers agree" in text and "possible paths: measured 6561 paths" in text and text.count("Yes: `") == 3
    assert "rain, n = 2 photographs" in text and VERDICT.search(text)


def test_the_first_lesson_runs_without_answers_and_with_other_values(ran):
    text, _ = ran("00_start_here", stubs=True, images=1, photograph="rocket", degradation="haze", severity=0.8)
    assert text.count("the lesson goes on with the solution") == 3 and "Exercises: 0 of 3 solved" in text
    assert "rain is nearest" in text or "does not see the heaviest rain" in text
    assert "haze, n = 1 photographs" in text


def test_the_lesson_on_degradations_makes_them_by_hand_and_undoes_haze(ran):
    text, alts = ran("01_degradations", images=2)
    assert text.count("By hand and by the library: the same") == 2 and text.count("Yes: `") == 4
    assert "n = 2 photographs" in text
    assert "Verdict: not shown without noise, not shown with it, for this checkpoint" in text and len(alts) == 9


def test_the_lesson_on_the_model_builds_it_by_hand(ran):
    text, alts = ran("03_build_the_model", images=2)
    assert text.count("By hand and by the library: the same") == 4
    assert text.count("Yes: `") == 4 and "The output is the same, and z gets a gradient" in text
    assert "measured 8 experts" in text and "measured 24 pins" in text
    assert "n = 2 photographs, 112 choices" in text and "Verdict: not shown, for this checkpoint" in text
    assert text.count("One half would mean") == text.count(" says where, too.") + text.count("hardly says where.") == 1
    assert len(alts) == 6


def test_the_lesson_on_evaluation_compares_two_checkpoints_in_pairs(ran, untrained):
    other = "small" if shipped() else str(untrained)
    text, alts = ran("05_evaluate", other=other, images=5, tasks=["noise25", "rain"])
    assert text.count("Yes: `") == 4 and "2000 draws of" in text
    assert "n = 5 photographs, noise25, rain" in text and len(alts) == 5
    assert "'demo'" in text and "published benchmark" in text
    assert VERDICT.search(text) and "n = 10 pictures: 5 photographs, each in 2 degradations" in text
    assert "return -10 * math.log10(error)" in text, "the source that is shown holds the formula"


def test_the_lesson_on_the_sphere_runs_with_its_solution(ran):
    text, alts = ran("02_sphere", images=2, steps=4)
    assert "90.0 on average; nine in ten from" in text and "nearly half-way from rain to blur: path" in text
    assert text.count("Yes: `") == 4 and "both pins are equally far" in text
    assert "By hand and by the library: the same expert at " in text
    assert "photographs move by more than 5 degrees, in 4 steps" in text and "nan to" not in text
    assert "Verdict: not shown, for this checkpoint, rain" in text, "two photographs give no interval"
    starts = [" ".join(alt.split()[:2]) for alt in alts]
    still = ["Angle of", "Images and"]  # of two explorers
    assert starts == [*still, "Angle of", "Expert of", "Experts on", "Photographs degraded", "Images and"]


@pytest.mark.parametrize(
    ("lesson", "changed", "message"),
    [
        ("00_start_here", {"experts": 1}, "needs a network with experts 2 or .*; this one has experts 1"),
        ("02_sphere", {"sude": "linear"}, "needs a network with sude emergent or .*; this one has sude linear"),
        ("03_build_the_model", {"block": "restormer"}, "needs a network with block naf; this one has block restormer"),
        ("03_build_the_model", {"experts": 1}, "this one has experts 1"),
    ],
)
def test_a_lesson_says_which_networks_it_is_about(lesson, changed, message, tmp_path):
    cfg = config.recipe("tiny")
    cfg = replace(cfg, model=replace(cfg.model, route_by="image", **changed))
    folder = save_weights(tmp_path, slerlib.SLERIR(cfg.model), {"name": "other", "config": config.to_dict(cfg)})
    with pytest.raises(slerlib.UserError, match=message):
        lessons.execute(lesson, tmp_path, checkpoint=str(folder))
    assert torch.is_grad_enabled()


SPHERE = {"images": 2, "severities": [0.5]}


def test_the_report_of_the_sphere_draws_maps_with_their_quality(ran, tmp_path):
    text, alts = ran("report_embedding", extra='["snow"]', **SPHERE)
    starts = [" ".join(alt.split()[:2]) for alt in alts]
    assert starts == ["A globe", "Map of", "Map of", "Regions of", "Regions of", "Mean angle"]
    assert "68 points of 2 photographs (demo), 34 whole images and 34 crops; 60 of them show" in text
    traces = Traces.load(tmp_path / "traces.npz")
    table = geometry.measures(traces.select(traces.table.label != "snow"))
    assert f"of other photographs: **{table.value['knn_accuracy']:.2f}" in text and "trustworthiness" in text
    assert (tmp_path / "measures.csv").is_file()
    assert f"same photograph, has the value {table.value['scene_leakage']:.2f} (" in text
    assert "2 photographs: too few for intervals." in text and "nan to" not in text


def test_the_lesson_on_maps_runs_with_its_solution(ran):
    text, alts = ran("06_embeddings_umap", redraws=1, **SPHERE)
    assert text.count("Yes: `") == 3 and "not on the scene: not shown" in text and "nan to" not in text
    assert re.search(r"Verdict: (contradicted|not shown), for this", text)
    assert len(alts) == 6
    pca, false_map = (next(alt for alt in alts if words in alt) for words in ("PCA", "Not to be trusted"))
    assert "stability" not in pca and "stability" not in false_map, "nothing was fitted twice"


def test_the_report_of_the_routes_counts_and_changes_them(ran, tmp_path):
    text, alts = ran("report_routing", images=2, side=32, draws=20)
    assert "16 images of 2 photographs in 8 degradations." in text
    assert "The learned path is not shown to differ from" in text and "2 photographs: too few for intervals" in text
    assert "not known: too few photographs" in text and "nan% to" not in text and "nan to" not in text
    assert len(alts) >= 8
    names = {path.stem for path in tmp_path.glob("*.csv")}
    assert names >= {"routing", "layers", "severity", "mixtures", "unseen", "knock_out", "path_swap", "rules"}


def test_the_lesson_on_experts_runs_with_its_solution(ran):
    text, alts = ran("07_expert_usage", images=2, side=32)
    assert "24 of 24 counts agree" in text and text.count("Yes: `") == 3
    assert VERDICT.search(text) and "own path minus oracle" in text and len(alts) == 8


def test_the_report_of_a_comparison_scores_or_takes_runs(ran, tmp_path, untrained):
    small = {"images": 1, "tasks": '["rain", "clean"]', "against": str(untrained), "pictures": 1}
    text, alts = ran("report_compare", **small)
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["verdict"] in text and told["pictures"] == 2 and told["b"]["sha256"]
    assert "There is no interval of the average: demo with fewer than 5 images." in text
    assert "The smallest n is 1: too few for an interval." in text and "intervals hold" not in text
    if not shipped():
        return  # the untrained network against itself
    assert [alt.partition(":")[0].split(",")[0] for alt in alts] == [
        "PSNR of B minus that of A",
        "Parts of photographs",
    ]
    assert "what is compared is which pictures go together" in text and f"{told['means'][0]['delta']:+.2f}" in text
    runs = {f"run_{letter}": str(tmp_path / f"{letter}.json") for letter in "ab"}
    text, alts = ran("report_compare", checkpoint="", **runs)
    same = json.loads((tmp_path / "comparison.json").read_text())
    assert same["rows"] == told["rows"]
    assert "The weights of A (untrained, sha256" in text and len(alts) == 1


SMALL = ["model.width=8", "model.context=32", "data.crop=16", "data.anchor_scenes=2", "train.grid_scenes=2"]


def test_the_lesson_on_training_is_killed_goes_on_and_scores(ran, tmp_path):
    text, alts = ran("04_train_on_gpu", out=str(tmp_path / "run"), steps=40, save_every=4, settings=SMALL, images=1)
    stopped, lost = (int(re.search(words, text)[1]) for words in
                     (r"step (\d+) of 40, stage .: stopped", r"steps that are lost: measured (\d+) steps"))  # fmt: skip
    assert 13 <= stopped < 40 and 0 <= lost <= 4
    assert f"goes on from step {stopped - lost}\n" in text and "step 40 of 40, stage C: done; saved at step 40" in text
    assert text.count("Yes: `") == 4 and text.count("by hand and by torch the same") == 2
    assert "stages that move the encoder: measured AC (no guess)." in text
    assert "40 steps, 1 photographs" in text and "Verdict: not shown, for this training." in text
    assert [alt.split(",")[0] for alt in alts if "step 40" in alt or "Loss over 40 steps" in alt]
    assert len(alts) == 8, "the batch; curves and a restored picture twice while it trains; curves; two pictures"


def test_the_lesson_on_training_is_killed_anywhere_and_run_again(ran, tmp_path):
    """A notebook that ends with its training at some step, opened again with a new kernel and run from the top."""
    out = tmp_path / "run"
    asked = {"out": str(out), "steps": 60, "save_every": 4, "settings": SMALL, "images": 1}
    with pytest.raises(slerlib.UserError, match="ended at step"):
        with killed(out, 30):
            ran("04_train_on_gpu", **asked)
    state = background.progress(out)
    assert state.state == "stopped" and 0 <= state.step - state.saved <= 4 and "stopped" in str(state)
    text, _ = ran("04_train_on_gpu", **asked)
    assert "60 steps, 1 photographs" in text and background.progress(out).state == "done"


@contextmanager
def killed(out: Path, step: int):
    """A thread that kills the training in `out` at that step, as the system does when memory ends."""

    def wait():
        while not done.wait(0.02):
            with suppress(slerlib.UserError, OSError, psutil.Error):
                if background.progress(out).step >= step and background.progress(out).running:
                    psutil.Process(int((out / "running.pid").read_text())).kill()

    done = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_the_lesson_on_ablations_runs_with_its_solution(ran):
    text, alts = ran("08_ablations", images=1, steps=2)
    assert "By hand and by the library: the same." in text and text.count("Yes: `") == 3
    assert "one seed has no interval" in text and "chance would show about" in text
    assert VERDICT.search(text) and re.search(r"One random path costs .* dB, mean over 1 photographs", text)
    assert [" ".join(alt.split()[:2]) for alt in alts] == [
        "Photographs, each",
        "Expert chosen",
        "Mean PSNR",
        "SLER-IR minus",
    ]


def test_the_lesson_on_many_processes_trains_alone_and_together(ran):
    text, alts = ran("09_many_gpus", steps=8, settings=SMALL)
    assert "weighted by the share of the samples: off by" in text and "Decay pulls at it." in text
    assert text.count("Yes: `") == 4 and "In 180 cases as the library does it." in text
    assert "2 processes by gloo on cpu" in text and len(alts) == 4
    assert "Verdict: holds, for these 8 steps." in text


def cell_with(notebook: str, words: str) -> str:
    (source,) = [cell.source for cell in lessons.code_cells(notebook) if words in cell.source]
    return source


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("report_*.ipynb")), ids=lambda path: path.stem)
def test_tables_with_a_style_escape_names(path):
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    styled = [cell for cell in cells if ".style." in cell]
    assert all(cell.count('escape="html"') >= cell.count(".style.") for cell in styled)  # it escapes nothing unasked


def test_the_average_of_the_evaluation_report_leaves_clean_inputs_out():
    inf, nan = np.inf, np.nan
    rows = [("noise25", 20.0, 30.0, 10.0), ("rain", inf, 56.0, nan), ("clean", inf, 56.0, nan)]
    means = pd.DataFrame(rows, columns=["task", "psnr_input", "psnr", "gain"])
    means.loc[3] = ["average", inf, 43.0, 10.0]
    means["psnr_low"], means["psnr_high"], means.attrs["no_interval"] = 40.0, 46.0, ""
    told = []
    space = {"np": np, "means": means, "table": SimpleNamespace(attrs={"missing": []}), "say": told.append}
    space |= {"losses": "0 of 1 damaged pictures", "lost": []}
    exec(cell_with("report_evaluation", "damaged.gain.idxmax()"), space)
    exec(cell_with("report_evaluation", "Left out, because"), space)
    assert list(space["damaged"].index) == ["noise25"] and space["mean"].gain == 10
    assert "some input is clean already: rain." in told[0]


def test_a_path_that_costs_nothing_need_not_be_the_cheapest():
    columns = ["degradation", "path_of", "lost", "lost_low"]
    rows = [("rain", "haze", 0.1, 0.05), ("rain", "blur", 0.2, -0.1), ("blur", "rain", 1.0, 0.5)]
    told, swapped = [], pd.DataFrame(rows, columns=columns)
    swapped.attrs["without"] = ["clean"]
    space = {"swapped": swapped, "say": told.append}
    exec(cell_with("report_routing", "costless ="), space)
    assert "the one that costs least): rain (path of blur). " in told[0] and told[0].endswith("of the images: clean.")
    space["swapped"] = swapped[:0]
    exec(cell_with("report_routing", "costless ="), space)
    assert told[1] == "No degradation has a path that more than half of its images take."


@pytest.mark.parametrize(
    ("names", "linear", "ends"),
    [
        (("noise15", "rain", "haze", "blur"), False, ("rain", "blur")),
        (("noise15", "noise25", "noise50", "rain", "haze"), False, ("rain", "haze")),  # of recipe paper3
        (("noise15", "rain"), False, None),
        (("rain", "blur"), True, None),
    ],
)
def test_the_walk_of_the_routing_report_takes_anchors_that_are_there(names, linear, ends):
    walked, told = [], []
    causal = SimpleNamespace(PathBench=lambda *a, **k: None, geodesic_walk=lambda bench, *ends: walked.append(ends))
    chart = SimpleNamespace(walk_chart=lambda walk, *ends: SimpleNamespace(_ipython_display_=lambda: None))
    model = SimpleNamespace(router=SimpleNamespace(names=names, linear_space=linear))
    asked = {"data": "demo", "images": 1, "severity": 0.5, "seed": 0, "side": 32}
    space = {"model": model, "causal": causal, "plots": chart, "say": told.append, "demo_cases": lambda *a: []}
    exec(cell_with("report_routing", "geodesic_walk"), space | asked)
    assert walked == ([ends] if ends else []) and len(told) == (not ends)
