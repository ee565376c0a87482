"""Settings: their names, values and defaults."""

import re

import pytest

from runner import config
from runner.config import Config
from runner.errors import UsageError


def test_defaults_are_the_classic_recipe():
    defaults = Config("Q1_1")
    assert (defaults.batch_size, defaults.lr, defaults.momentum, defaults.weight_decay) == (4, 0.001, 0.9, 0)
    assert (defaults.shuffle, defaults.val, defaults.dataset, defaults.data_dir) == ("none", "test", "auto", "data")


def test_cues_have_the_strengths_that_are_given_in_any_order():
    assert config.cue_strengths("") == {}
    assert list(config.cue_strengths("texture,colour:0.25").items()) == [("colour", 0.25), ("texture", 1.0)]


@pytest.mark.parametrize(
    "cues", ["smell", "colour:0", "colour:1.1", "colour:x", "colour:nan", "colour,colour", "colour,", ":1"]
)
def test_cues_that_are_none_are_refused(cues):
    with pytest.raises(UsageError, match="--cues"):
        Config("Q1_1", dataset="synthetic", cues=cues)


def test_cues_are_for_generated_images_alone():
    for dataset in ("auto", "cifar10"):
        with pytest.raises(UsageError, match="--dataset synthetic"):
            Config("Q1_1", dataset=dataset, cues="colour")


def test_eval_shuffle_is_that_of_training_or_own():
    assert Config("Q1_1", shuffle="fixed").eval_shuffle == "fixed"
    other = Config("Q1_1", shuffle="fixed", val_shuffle="block:4")
    assert other.eval_shuffle == "block:4"
    assert other.run_name == "Q1_1__shuffle-fixed__val-shuffle-block-4__seed-0"


def test_run_name_tells_model_shuffle_seed_and_differences():
    assert Config("Q1_1").run_name == "Q1_1__shuffle-none__seed-0"
    name = Config("Q1_4", shuffle="fixed", shuffle_seed=3, seed=2, lr=0.0123456789, val="holdout", epochs=15).run_name
    assert name == "Q1_4__shuffle-fixed__epochs-15__lr-0.0123456789__shuffle-seed-3__val-holdout__seed-2"


def test_run_is_over_when_its_epochs_or_its_patience_are():
    run = Config("Q1_1", epochs=6, val="holdout", patience=2)
    assert not run.is_over([])
    assert [run.is_over([0.1, 0.3, 0.2, 0.3, 0.4][:epochs]) for epochs in range(1, 6)] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert run.is_over([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert not Config("Q1_1", epochs=6).is_over([0.5, 0.1, 0.1, 0.1, 0.1])


LONG = dict(
    model_name="Q1_1", recipe="fast", epochs=20, batch_size=128, lr=0.05, warmup=0.25, momentum=0.95, nesterov=False,
    weight_decay=0.0005, init="torch", label_smoothing=0.05, augment="none", precision="fp32", shuffle="per-image",
    val="holdout", holdout=100, train_fraction=0.5, val_shuffle="none", shuffle_seed=3,
)  # fmt: skip


def test_long_run_name_is_cut_and_stays_unique():
    several = [LONG, LONG | {"holdout": 200}, LONG | {"model_name": "x" * 100}, LONG | {"model_name": "é" * 100}]
    several += [LONG | {"model_name": "x" * 100, "seed": config.MAX_SEED}, LONG | {"seed": config.MAX_SEED}]
    names = [Config.from_given(settings).run_name for settings in several]
    assert len(set(names)) == len(names)
    assert all(len(f"{name}__run-99.log".encode()) <= 143 for name in names)
    assert re.fullmatch(
        r"Q1_1__shuffle-per-image__recipe-fast__epochs-20__batch-size-128__.*__and-\d+-more-[0-9a-f]{8}__seed-0",
        names[0],
    )
    assert names[4].endswith(f"__seed-{config.MAX_SEED}")


@pytest.mark.parametrize("field", [name for name, field in config.FIELDS.items() if field.metadata["names_run"]])
def test_settings_that_change_a_result_change_the_name(field):
    about = config.FIELDS[field]
    values = {"int": 77, "float": 0.5, "bool": not about.default, "str": (about.metadata["choices"] or [""])[-1]}
    extra = {"holdout": {"val": "holdout"}, "warmup": {"schedule": "one-cycle"}}
    extra = (extra | {"patience": {"val": "holdout"}}).get(field, {})
    assert Config("Q1_1", **extra, **{field: values[about.type.__name__]}).run_name != Config("Q1_1", **extra).run_name


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"shuffle": "x"}, {"lr": float("inf")}, {"model_name": ""}])
def test_settings_are_checked_however_they_are_made(settings):
    with pytest.raises(UsageError):
        Config(**{"model_name": "Q1_1"} | settings)


def test_from_saved_leaves_out_settings_that_are_retired():
    saved = vars(Config("Q1_1", lr=0.3))
    assert Config.from_saved(saved | {"cuda_graph": True}) == Config("Q1_1", lr=0.3)
    with pytest.raises(TypeError, match="unheard_of"):
        Config.from_saved(saved | {"unheard_of": 1})
    with pytest.raises(UsageError, match="--epochs 0"):
        Config.from_saved(saved | {"epochs": 0})
