"""Configs are read strictly: every slip is one line that names its key."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from multires_tf.ground import config, errors, strict

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(path for path in CONFIGS.glob("*.yaml"))
OVERLAYS = sorted((CONFIGS / "overlays").glob("*.yaml"))


@pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=lambda p: p and p.stem)
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_config_loads_with_every_overlay(experiment, overlay):
    config.load(experiment, [overlay] if overlay else [])


def test_a_dumped_config_reads_back_equal(tmp_path):
    resolved = config.load(CONFIGS / "multires_unc.yaml", [CONFIGS / "overlays" / "tiny.yaml"])
    (tmp_path / "config.yaml").write_text(config.dump(resolved))
    assert config.parse(tmp_path / "config.yaml") == resolved


def test_a_config_of_schema_1_is_brought_up_to_this_one():
    old = CONFIGS.parent / "tests" / "goldens" / "config_schema_1.yaml"
    overlays = [CONFIGS / "overlays" / "tiny.yaml"]
    sets = ["register=none", "train.recompute=[]", "network.norm.kind=batch"]
    assert config.parse(old) == config.load(CONFIGS / "multires_unc.yaml", overlays, sets)


@pytest.mark.parametrize("text", ["schema: 1", "schema: [1]", "schema: 1\ntrain: 3", "seed: 0"])
def test_a_config_that_lacks_more_is_refused_by_its_key(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(errors.UserError, match=r"config.yaml: [\w.]+: .*bring an intact copy"):
        config.parse(tmp_path / "config.yaml")


def test_later_settings_win():
    resolved = config.load(CONFIGS / "multires.yaml", sets=["train.steps=7", "train.steps=9"])
    assert resolved.train.steps == 9


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("train.stepz=3", "did you mean 'train.steps'"),
        ("netwrk.window=3", "did you mean 'network'"),
        ("train.steps=ten", "train.steps: needs int"),
        ("train.learning_rate=1e-4", "write 1.0e-4"),
        ("network.norm.kind=layer", "network.norm.kind: 'layer' is not one of batch"),
        ("network.window=[81, 80, 80]", "network.window: needs multiples of 16, not 81"),
        ("network.window=[80, 80]", "network.window: needs 3 values, has 2"),
        ("predict.tile=[0, 80, 80]", "predict.tile"),
        ("network.dropout.keep=0", "network.dropout.keep"),
        ("network=3", "network: needs a section"),
        ("seed=true", "seed: needs int"),
        ("train.steps", "needs the form section.key=value"),
        ("schema=99", "schema"),
        ("seed=-1", "seed: needs 0 to 2147483647"),
        ("spacing_mm=[2.0, 0.0, 2.0]", "spacing_mm: needs millimetres > 0"),
        ("network.norm.groups=0", "network.norm.groups: needs at least 1"),
        ("network.initial_sd_hu=0", "network.initial_sd_hu: needs HU > 0"),
        ("sampling.scaling=1.5", "sampling.scaling"),
        ("train.learning_rate=0", "train.learning_rate: needs a rate > 0"),
        ("network.multires.dilations=[1, 2, 3]", "network.multires.dilations: needs 1, 2 or 4"),
        ("network.multires.scales=[]", "network.multires.scales: needs [1], [1, 2] or [1, 2, 4]"),
        ("network.multires.blocks=0", "network.multires.blocks: needs at least 1"),
        ("network.multires.head=[0]", "network.multires.head: needs widths of at least 1"),
        ("network.unet.levels=0", "network.unet.levels: needs at least 1"),
        ("sampling.tile=[24, 32, 32]", "sampling.tile: needs multiples of 16, not 24"),
        ("loss.stabiliser=-1.0", "loss.stabiliser: needs a variance >= 0"),
        ("train.gradient_clip=-1.0", "train.gradient_clip: needs a norm >= 0"),
        ("train.adam_epsilon=0", "train.adam_epsilon: needs a number > 0"),
        ("train.convergence_change=5", "train.convergence_change: needs a share >= 0 and < 1"),
        ("train.convergence_window=0", "train.convergence_window: needs at least 1"),
        (
            "train.steps=100000000000000000000",
            "train.steps: needs at most 2147483647, not 1000",
        ),
        ("network.initial_ct_hu=1.0e+300", "network.initial_ct_hu: needs at most 3.4e+38"),
        ("network.initial_ct_hu=1" + 400 * "0", "network.initial_ct_hu: needs a finite number"),
        ("train.steps=2026-13-45", "train.steps=2026-13-45: the value is not YAML"),
        ("train={steps: 3, steps: 4}", "the value is not YAML"),
        ("train.statistics_windows=-5", "train.statistics_windows: needs a number >= 0"),
    ],
)
def test_a_slip_names_its_key(setting, named):
    with pytest.raises(errors.UserError) as caught:
        config.load(CONFIGS / "multires.yaml", sets=[setting])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    text = config.dump(config.load(CONFIGS / "base.yaml")).replace("seed: 0\n", "")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(errors.UserError, match="seed: missing"):
        config.parse(tmp_path / "config.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [1")
    with pytest.raises(errors.UserError, match=r"config\.yaml: not readable as YAML"):
        config.parse(tmp_path / "config.yaml")


def test_a_run_that_was_trained_against_a_later_law_stays_readable(tmp_path):
    text = config.dump(config.load(CONFIGS / "base.yaml"))
    for old, new in (
        ("convergence_change: 0.05", "convergence_change: -1.0"),
        ("adam_epsilon: 1.0e-08", "adam_epsilon: 0.0"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "config.yaml").write_text(text)
    assert config.parse(tmp_path / "config.yaml").train.convergence_change == -1.0


def test_an_anchor_may_be_merged_under_keys_of_its_own(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text("x: {y: &a {<<: {k: 0}, k: 1}}\nb: {<<: *a}\n")
    assert strict.read(path) == {"x": {"y": {"k": 1}}, "b": {"k": 1}}


def test_a_section_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("train: {learning_rate: 5.0e-4}\nloss: {beta: 0.5}\ntrain: {steps: 10}\n")
    with pytest.raises(errors.UserError, match=r"twice\.yaml: .* 'train' is there twice.* line 3"):
        config.load(CONFIGS / "multires.yaml", [path])


def test_an_untrained_folder_s_config_can_be_changed_by_prepare(tmp_path):
    first, batch, seed = (
        config.load(CONFIGS / "multires.yaml", sets=sets)
        for sets in ([], ["sampling.batch=2"], ["seed=3"])
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(first))
    with pytest.raises(errors.UserError, match=r"sampling\.batch: 1, not 2; run 'prepare' with"):
        config.need_prepared(path, batch, trained=False)
    for other, trained in ((batch, True), (seed, False)):
        with pytest.raises(errors.UserError, match="; use the same config, or another --workdir"):
            config.need_prepared(path, other, trained=trained)


def test_rows_further_apart_than_the_window_of_convergence_are_refused_but_an_old_run_is_read(
    tmp_path,
):
    sets = ["train.report_every=60", "train.convergence_window=50"]
    with pytest.raises(errors.UserError, match=r"train\.report_every: needs at most train\.conv"):
        config.load(CONFIGS / "multires.yaml", [], sets)
    loaded = config.load(CONFIGS / "multires.yaml", [], [*sets, "train.convergence_change=0"])
    kept = dataclasses.replace(loaded.train, convergence_change=0.05)
    (tmp_path / "config.yaml").write_text(config.dump(dataclasses.replace(loaded, train=kept)))
    assert config.parse(tmp_path / "config.yaml").train == kept


def test_the_first_difference_is_named():
    ours = config.load(CONFIGS / "multires.yaml")
    theirs = config.load(CONFIGS / "multires.yaml", sets=["train.steps=5"])
    assert config.first_difference(ours, theirs) == "train.steps: 5, not 100000"
    assert config.first_difference(ours, theirs, ("network",)) is None


def test_a_unet_has_no_variance_head():
    with pytest.raises(errors.UserError, match=r"network\.uncertainty"):
        config.load(CONFIGS / "unet3d.yaml", sets=["network.uncertainty=true"])
