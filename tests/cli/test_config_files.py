"""Config files that are parsed once."""

import io

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from omegaconf import OmegaConf, base
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


# Every form of an entry that looks choices up, below entries that do not.
FILES = {
    "main.yaml": """\
defaults: [plain, {db: mysql}, {server: a}, {"db_of_a": [one]}, "${server}_${db}", {more: "${db}"}, _self_]
found: ${a_mysql}${db.port}${of}${more}
""",
    "plain.yaml": "defaults: [nested]\n",
    "nested.yaml": "x: 1\n",
    "db/mysql.yaml": "port: 1\n",
    "db/other.yaml": "port: 2\n",
    "server/a.yaml": "y: 1\n",
    "db_of_a/one.yaml": "# @package _global_\nof: 3\n",
    "a_mysql.yaml": "a_mysql: 4\n",
    "a_other.yaml": "a_mysql: 5\n",
    "more/mysql.yaml": "# @package _global_\nmore: 6\n",
    "more/other.yaml": "# @package _global_\nmore: 7\n",
}


@pytest.mark.parametrize(("options", "found"), [((), "4136"), (("db=other",), "5237")])
def test_entries_that_look_choices_up_are_found_as_hydra_alone_finds_them(tmp_path, options, found):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        plain = compose("main", list(options))
        with parsed_once():
            for _ in range(2):
                again = compose("main", list(options))
                assert again == plain
                assert OmegaConf.is_struct(again) and not OmegaConf.is_readonly(again)
                # A change of one reaches no other.
                again.x, again.db.port = 8, 9
    assert str(plain.found) == found


def test_the_parser_is_put_back_also_after_an_error(tmp_path):
    before = OmegaConf.load, base.parse, defaults_list._create_interpolation_map
    (tmp_path / "given.yaml").write_text("a: 1\n")
    with parsed_once():
        assert OmegaConf.load(tmp_path / "given.yaml").a == 1  # a path, as others may give it
        with pytest.raises((yaml.YAMLError, OmegaConfBaseException)):
            OmegaConf.load(io.StringIO("a: [1\n"))
    with pytest.raises(KeyError), parsed_once():
        raise KeyError("x")
    assert (OmegaConf.load, base.parse, defaults_list._create_interpolation_map) == before
