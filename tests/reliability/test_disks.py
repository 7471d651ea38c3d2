"""A full, read-only or vanished disk gives one line that names folder and cause; damaged extras do not matter."""

import errno
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from alasca_pl.core import files
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_archive, write_atomically, write_json
from alasca_pl.runs.load import load_run
from running import TINY, command

OPTIONS = (*TINY, "epochs=2", "data.max_train_samples=64", "data.max_test_samples=32", "data.num_val=32")
CAUSES = {
    errno.ENOSPC: "No space left on device",
    errno.EROFS: "Read-only file system",
    errno.EIO: "Input/output error",
}


def _fails(monkeypatch, number, suffix="", after=0):
    """Let writing of temporary files whose name ends so fail, after some bytes."""
    written = {}
    original = files._Raw.write

    def write(self, content):
        name = str(self.name).removesuffix(".tmp")
        if name.endswith(suffix):
            written[name] = written.get(name, 0) + len(content)
            if written[name] > after:
                self.problem = OSError(number, os.strerror(number), name)
                raise self.problem
        return original(self, content)

    monkeypatch.setattr(files._Raw, "write", write)


@pytest.mark.parametrize("number", CAUSES)
@pytest.mark.parametrize("kind", ["text", "json", "npz", "ckpt"])
@pytest.mark.parametrize("after", [0, 300_000])
# Torch tells of the end that it could not write.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_write_names_folder_and_cause(monkeypatch, tmp_path, number, kind, after):
    path = tmp_path / f"file.{kind}"
    path.write_bytes(b"old")
    large = torch.randn(200_000)
    writes = {
        "text": lambda: write_atomically(path, lambda file: file.write(large.numpy().tobytes())),
        "json": lambda: write_json(path, {"a": large.tolist()}),
        "npz": lambda: write_archive(path, lambda file: np.savez(file, a=large.numpy())),
        "ckpt": lambda: write_archive(path, lambda file: torch.save({"a": large}, file)),
    }
    _fails(monkeypatch, number, after=after)
    with pytest.raises(UserError) as refused:
        writes[kind]()
    assert str(refused.value).startswith(f"cannot write {path.name} in {tmp_path}: {CAUSES[number]}")
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="only POSIX limits the size of files")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_real_limit_is_named_not_what_torch_makes_of_it(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(UserError, match=rf"cannot write last\.ckpt in {tmp_path}: File too large"):
            write_archive(tmp_path / "last.ckpt", lambda file: torch.save({"a": torch.randn(200_000)}, file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".ckpt", ".csv", "record.json", "noise.npz", "samples.npz", "config.yaml", ".png"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_training_on_a_full_disk_ends_in_one_line(monkeypatch, tmp_path, suffix):
    _fails(monkeypatch, errno.ENOSPC, suffix)
    outcome = command(tmp_path, *OPTIONS, "hydra.run.dir=run")
    assert "Traceback" not in outcome.err and outcome.err.count("\n") <= 5, outcome.err
    if suffix == ".png":
        # A picture is not worth a run.
        assert outcome.code == 0
    else:
        assert outcome.code == 1
        assert f"{tmp_path}/run" in outcome.err and CAUSES[errno.ENOSPC] in outcome.err, outcome.err


def test_a_read_only_disk_is_named(monkeypatch, tmp_path):
    original = Path.mkdir

    def mkdir(self, *args, **kwargs):
        if self.name == "run":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    outcome = command(tmp_path, *OPTIONS, "hydra.run.dir=run")
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert f"{tmp_path}/run cannot be written to: {CAUSES[errno.EROFS]}" in outcome.err, outcome.err


def test_a_log_that_cannot_be_written_is_named_once_and_the_run_goes_on(monkeypatch, tmp_path):
    from alasca_pl.cli import run_log

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self):
            pass

        def close(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_log._LogFile, "_open", lambda self: Full())
    outcome = command(tmp_path, *OPTIONS, "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    assert outcome.err.count("train.log: No space left on device") == 1 and "Traceback" not in outcome.err


def test_a_folder_that_vanishes_is_named_and_not_made_again(monkeypatch, tmp_path):
    from alasca_pl.training.callbacks.history import History

    original = History.on_train_epoch_end

    def vanish(self, trainer, module):
        original(self, trainer, module)
        shutil.rmtree(self.path.parent)

    monkeypatch.setattr(History, "on_train_epoch_end", vanish)
    outcome = command(tmp_path, *OPTIONS, "hydra.run.dir=run")
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert f"{tmp_path}/run" in outcome.err, outcome.err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert command(folder, *OPTIONS, "hydra.run.dir=run").code == 0
    return folder / "run"


@pytest.mark.parametrize("name", ["metrics.csv", "record.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"epoch,step\nx,y\n", b"{", b"[1]"])
def test_damaged_extras_do_not_keep_a_run_from_being_opened(finished, tmp_path, name, content):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    run = load_run(tmp_path / "run")
    assert run.epoch == 1
    if content and name == "record.json":
        assert run.record is None
    outcome = command(tmp_path, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt", entry="evaluate")
    assert outcome.code == 0, outcome
