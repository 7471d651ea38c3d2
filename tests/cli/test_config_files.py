"""Config files that are parsed once."""

import io

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.cli.config_files import parsed_once


def test_a_file_that_is_edited_between_two_compositions_is_read_again(tmp_path):
    (tmp_path / "main.yaml").write_text("lr: 0.1\n")
    found = []
    with initialize_config_dir(str(tmp_path), version_base="1.3"), parsed_once():
        for text in ("lr: 0.1\n", "lr: 0.2\n", "lr: 0.1\n"):
            (tmp_path / "main.yaml").write_text(text)
            found.append(compose("main").lr)
    assert found == [0.1, 0.2, 0.1]


def test_a_change_of_one_copy_reaches_no_other():
    text = "a: {b: [1, 2], c: '${a.b}'}\n"
    with parsed_once():
        first = OmegaConf.load(io.StringIO(text))
        first.a.b[0] = 7
        second = OmegaConf.load(io.StringIO(text))
    assert OmegaConf.to_container(second, resolve=False) == yaml.safe_load(text)
    assert list(second.a.c) == [1, 2]


def test_the_parser_is_put_back_also_after_an_error(tmp_path):
    before = OmegaConf.load
    (tmp_path / "given.yaml").write_text("a: 1\n")
    with parsed_once():
        assert OmegaConf.load(tmp_path / "given.yaml").a == 1  # a path, as others may give it
        with pytest.raises((yaml.YAMLError, OmegaConfBaseException)):
            OmegaConf.load(io.StringIO("a: [1\n"))
    with pytest.raises(KeyError), parsed_once():
        raise KeyError("x")
    assert OmegaConf.load is before
