"""Recipes: options from a file, overridden by the command line, refused where they are wrong."""

import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from train import ablation
from train.commandline import training_command
from train.metric_network.__main__ import main as metric_network
from train.metric_network.record_outputs import main as record_outputs
from train.segmentation.__main__ import main as segmentation

REPOSITORY = Path(__file__).parents[1]
RECIPES = sorted((REPOSITORY / "train" / "recipes").glob("*.toml"))
COMMANDS = {
    "warm-up": segmentation,
    "large-patches": segmentation,
    "wide": segmentation,
    "learned-metric": segmentation,
    "segmentation": segmentation,
    "metric-network": metric_network,
    "record-outputs": record_outputs,
    "ablation": ablation.run,
}


@training_command("small")
@click.option("--alpha", default=0.2)
@click.option("--turns/--no-turns", default=False)
@click.option("--save-stages", type=int, required=True)
def command(alpha, turns, save_stages):
    click.echo(f"{alpha} {turns} {save_stages}")


def invoke(tmp_path, recipe, *arguments, name="r.toml"):
    (tmp_path / name).write_text(recipe)
    return CliRunner().invoke(command, ["--recipe", str(tmp_path / name), *arguments])


def test_options_come_from_the_recipe(tmp_path):
    result = invoke(tmp_path, "[small]\nalpha = 0.7\nturns = true\nsave-stages = 3\n")
    assert result.output == "0.7 True 3\n"


def test_the_command_line_overrides_the_recipe(tmp_path):
    result = invoke(
        tmp_path, "[small]\nalpha = 0.7\nturns = true\nsave-stages = 3\n", "--no-turns", "--alpha", "0.1"
    )
    assert result.output == "0.1 False 3\n"


def test_another_table_can_be_named(tmp_path):
    (tmp_path / "r.toml").write_text("[small]\nsave-stages = 3\n[other]\nsave-stages = 4\n")
    result = CliRunner().invoke(command, ["--recipe", f"{tmp_path / 'r.toml'}:other"])
    assert result.output == "0.2 False 4\n"


@pytest.mark.parametrize(
    ("recipe", "code", "word"),
    [
        ("[small]\nalhpa = 1\n", 2, "alhpa"),
        ("[large]\nalpha = 1\n", 3, "no table 'small'"),
        ("[small\n", 3, "cannot be read"),
    ],
)
def test_wrong_recipes_are_refused_in_one_line(tmp_path, recipe, code, word):
    result = invoke(tmp_path, recipe)
    assert result.exit_code == code
    assert word in result.output
    assert "r.toml" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_every_key_of_the_recipes_is_an_option_with_a_fitting_value(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = tomllib.loads(recipe.read_text())
    assert tables
    for table, settings in tables.items():
        options = {o.removeprefix("--"): p for p in COMMANDS[table].params for o in p.opts}
        context = click.Context(COMMANDS[table])
        for key, value in settings.items():
            if isinstance(options[key].type, click.Path) and options[key].type.exists:
                value = Path(value)  # what an earlier table's run leaves behind
                value.parent.mkdir(parents=True, exist_ok=True)
                value.touch()
            assert options[key].type_cast_value(context, value) == value


def test_the_published_recipe_states_the_papers_values():
    tables = tomllib.loads((RECIPES[0].parent / "published.toml").read_text())
    stage2 = tables["segmentation"]
    assert (stage2["patch"], stage2["width"], stage2["dropout"], stage2["rate"]) == (64, 24, 0.5, 1e-4)
    assert (stage2["lesion-loss"], stage2["alpha"], stage2["cross-entropy"]) == ("metric-network", 0.2, 0)
    assert (tables["metric-network"]["head"], tables["metric-network"]["rate"]) == ("published", 1e-4)


@pytest.mark.parametrize(("device", "count"), [("", 0), ("cuda", 4)])
def test_make_trains_both_networks_on_the_device(device, count):
    command = ["make", "-n", "train", f"DEVICE={device}", "VENV=none"]
    lines = (
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        .stdout.replace("\\\n", "")
        .splitlines()
    )
    trainings = [
        line for line in lines if "-m train.segmentation" in line or "-m train.metric_network -" in line
    ]
    assert len(trainings) == 4
    assert sum("--device cuda" in line for line in trainings) == count
    assert not any("record_outputs" in line and "--device" in line for line in lines)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(28, "No space left on device", "runs/log"),
            "runs/log: No space left on device; check the disk",
        ),
        (MemoryError(), "or lower --threads, or lower --batch or --patch"),
        (RuntimeError("CUDA out of memory. Tried"), "run with --device cpu, or lower --batch or --patch"),
    ],
)
def test_a_full_disk_and_too_little_memory_are_told_in_a_line(monkeypatch, error, line):
    def fail(**_options):
        raise error

    monkeypatch.setattr(segmentation, "callback", fail)
    result = CliRunner().invoke(segmentation, ["--output", "run"])
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("error: ")
    assert line in result.output
    assert result.output.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(**_options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(segmentation, "callback", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        CliRunner().invoke(segmentation, ["--output", "run"], catch_exceptions=False)
