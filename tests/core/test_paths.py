from pathlib import Path

from alasca_pl.core.experiment import differing_keys
from alasca_pl.core.paths import absolute_paths, path_names


def test_listed_values_become_absolute_at_any_depth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {
        "data": {"root": "a", "name": "a", "reader": {"lists": "b/c", "_paths_": ["lists"]}, "_paths_": ["root"]},
        "noise": {"like": {"path": "~/d", "_paths_": ["path"]}},
        "callbacks": [{"file": "e", "_paths_": ["file"]}],
        "root": "f",
    }
    made = absolute_paths(config)
    assert made["data"]["root"] == str(tmp_path / "a")
    assert made["data"]["name"] == "a"
    assert made["data"]["reader"]["lists"] == str(tmp_path / "b" / "c")
    assert made["noise"]["like"]["path"] == str(Path.home() / "d")
    assert made["callbacks"][0]["file"] == str(tmp_path / "e")
    assert made["root"] == "f"
    assert config["data"]["root"] == "a"


def test_values_that_are_no_text_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = {
        "root": None,
        "path": "",
        "matrix": [[1.0, 0.0], [0.0, 1.0]],
        "_paths_": ["root", "path", "matrix", "absent"],
    }
    assert absolute_paths(node) == node


def test_a_name_with_a_question_mark_is_a_path_only_where_one_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = {"path": "owner/set", "_paths_": ["path?"]}
    assert absolute_paths(node)["path"] == "owner/set"
    (tmp_path / "owner" / "set").mkdir(parents=True)
    assert absolute_paths(node)["path"] == str(tmp_path / "owner" / "set")


def test_a_run_may_find_its_paths_elsewhere():
    def config(where: str, name: str) -> dict:
        return {"data": {"reader": {"lists": where, "kind": name, "_paths_": ["lists?"]}, "root": where}}

    assert differing_keys(config("a", "x"), config("a", "x")) == {}
    assert differing_keys(config("a", "x"), config("b", "y")) == {
        "data.reader.kind": ("x", "y"),
        "data.root": ("a", "b"),
    }
    assert path_names(config("a", "x")) == {"data.reader.lists"}
