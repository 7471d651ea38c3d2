"""The command of the same run without ALASCA, composed as alasca-train composes it."""

import pytest
from omegaconf import OmegaConf

from alasca_pl.cli.comparison import uses_alasca, without_alasca
from alasca_pl.core.experiment import identity
from cli.test_own_data import write_folder
from running import CONF_DIR, compose_config, initialize_config_dir


def composed(overrides):
    made = compose_config("train", list(overrides))
    return OmegaConf.to_container(made.config, resolve=True), made.choices


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("data=cifar10 regularizers.alasca.strength=2 aux.kind=mlp alasca=short seed=1", "data=cifar10 seed=1 alasca=none"),
        ("method=sop epochs=7", "method=sop epochs=7 alasca=none"),
        ("component=alasca seed=1 regularizers.alasca.momentum=0.5", "seed=1 component=none"),
        ("component=als_ac epochs=9 data=npz data.path=x.npz", "epochs=9 data=npz data.path=x.npz component=none"),
        ("component=uls_ac regularizers.uls.smoothing=0.2", "component=none"),
        ("component=alasca method=elr", "method=elr component=none"),
        ("component=alasca alasca=short", "component=none"),
        # ALASCA added to another row of the table.
        ("component=uls alasca=paper", "component=uls alasca=none"),
        # Heads that another penalty needs stay.
        ("method=byot aux.kind=linear alasca=paper", "method=byot aux.kind=linear alasca=none"),
        ("method=har alasca=uls regularizers.uls.smoothing=0.2 regularizers.har.strength=5",
         "method=har regularizers.har.strength=5 alasca=none"),
        ("experiment=a_coteaching scale=small", "experiment=a_coteaching scale=small alasca=none"),
        ("data=digits optim.lr=0.1 ckpt_path=x.ckpt", "data=digits optim.lr=0.1 alasca=none"),
        ("recipe=quick data=folder data.root=DIR data.num_val=2",
         "recipe=quick data=folder data.root=DIR data.num_val=2 alasca=none"),
        ("setting=asymmetric40 model.norm=group trainer=smoke",
         "setting=asymmetric40 model.norm=group trainer=smoke alasca=none"),
    ],
)  # fmt: skip
def test_it_keeps_every_option_and_has_no_alasca(tmp_path, line, expected):
    if "DIR" in line:
        # A recipe looks at the images.
        write_folder(tmp_path / "images", ("a", "b"), train=4, test=0)
        line, expected = (text.replace("DIR", str(tmp_path / "images")) for text in (line, expected))
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config, _ = composed(line.split())
        words = without_alasca(line.split(), config, lambda overrides: composed(overrides)[0])
        plain, choices = composed(words)
    assert words == expected.split()
    assert choices["alasca"] == "none"
    assert not {"alasca", "uls"} & {name for name, node in plain["regularizers"].items() if node}

    def rest(values):
        ours = ("regularizers.alasca", "regularizers.uls", "aux", "ckpt_path")
        return {name: value for name, value in identity(values).items() if not name.startswith(ours) and value != {}}

    assert rest(plain) == rest(config)


def test_a_row_of_ones_own_that_brings_a_method_keeps_it(tmp_path):
    """Where component=none would change more than ALASCA, alasca=none is said."""
    configs = {("component=none",): {"criterion": {"q": 1}}, ("component=mine", "alasca=none"): {"criterion": {"q": 2}}}
    config = {"regularizers": {"alasca": {"strength": 1.0}}}
    words = without_alasca(["component=mine"], config, lambda overrides: configs[tuple(overrides)])
    assert words == ["component=mine", "alasca=none"]
    assert without_alasca(["component=mine"], config, lambda overrides: None) == ["component=mine", "alasca=none"]


@pytest.mark.parametrize(
    ("line", "uses"),
    [
        ("", True),
        ("component=uls_ac", True),
        ("alasca=none", False),
        ("method=byot alasca=none", False),
        ("regularizers.alasca=null", False),
    ],
)
def test_only_a_run_that_has_alasca_is_told_of_the_same_without_it(line, uses):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        assert uses_alasca(composed(line.split())[0]) == uses
