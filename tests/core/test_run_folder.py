from pathlib import Path

from alasca_pl.core.run_folder import RunFolder


def test_a_checkpoint_leads_to_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.of_checkpoint(Path("run/checkpoints/best.ckpt"))
    assert folder.path == tmp_path / "run"
    assert folder.best == tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert folder.checkpoint("last") == folder.last


def test_files_in_the_way_are_named(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.would_overwrite() == []
    folder.metrics.write_text("")
    folder.checkpoints.mkdir()
    folder.log.write_text("")
    (tmp_path / "other").write_text("")
    assert folder.would_overwrite() == ["metrics.csv", "checkpoints"]
