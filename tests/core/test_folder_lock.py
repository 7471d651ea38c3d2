"""One process at a time has a folder; a dead one has none."""

import multiprocessing
import os
import signal
import time

import pytest

from alasca_pl.core.errors import UserError
from alasca_pl.core.folder_lock import FolderLock

FORK = multiprocessing.get_context("fork")


def _hold(folder, ready):
    lock = FolderLock(folder, ".lock")
    lock.acquire()
    ready.set()
    time.sleep(120)


def _holder(folder):
    ready = FORK.Event()
    process = FORK.Process(target=_hold, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    return process


def test_the_second_comer_is_told_who_has_the_folder(tmp_path):
    holder = _holder(tmp_path / "run")
    try:
        with pytest.raises(UserError, match=rf"run is in use by process {holder.pid} on .*hydra\.run\.dir"):
            FolderLock(tmp_path / "run", ".lock").acquire()
    finally:
        holder.kill()
        holder.join()


@pytest.mark.parametrize("told", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_owner_is_free(tmp_path, told):
    holder = _holder(tmp_path)
    os.kill(holder.pid, told)
    holder.join()
    lock = FolderLock(tmp_path, ".lock")
    lock.acquire()
    lock.release()


def test_a_process_does_not_get_its_own_folder_twice(tmp_path):
    lock = FolderLock(tmp_path, ".lock")
    lock.acquire()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="in use by this process"):
        FolderLock(tmp_path / "link", ".lock").acquire()
    # Asking must not have given it away, which opening the file again would have done.
    asked = FORK.Process(target=_expect_refusal, args=(tmp_path,))
    asked.start()
    asked.join()
    lock.release()
    assert asked.exitcode == 0


def _expect_refusal(folder):
    from alasca_pl.core import folder_lock

    folder_lock._HELD.clear()
    with pytest.raises(UserError, match="in use by process"):
        FolderLock(folder, ".lock").acquire()


def _sleep():
    time.sleep(120)


def test_forked_processes_do_not_keep_the_lock(tmp_path):
    """Loaders' workers outlive a killed run for a moment."""
    lock = FolderLock(tmp_path, ".lock")
    lock.acquire()
    worker = FORK.Process(target=_sleep)
    worker.start()
    lock.release()
    try:
        again = FolderLock(tmp_path, ".lock")
        again.acquire()
        again.release()
    finally:
        worker.kill()
        worker.join()


def test_undoing_removes_only_what_was_made(tmp_path):
    (tmp_path / "mine").mkdir()
    lock = FolderLock(tmp_path / "mine" / "runs" / "one", ".lock")
    lock.acquire()
    assert (tmp_path / "mine" / "runs" / "one" / ".lock").is_file()
    lock.undo()
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    lock.acquire()
    (tmp_path / "mine" / "runs" / "one" / "kept").touch()
    lock.undo()
    assert [path.name for path in (tmp_path / "mine" / "runs" / "one").iterdir()] == ["kept"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        FolderLock(tmp_path / "file" / "run", ".lock").acquire()
    with pytest.raises(UserError, match="cannot be written to"):
        FolderLock(tmp_path / "file", ".lock").acquire()


def _count(folder, counter, rounds):
    for _ in range(rounds):
        while True:
            lock = FolderLock(folder / "run", ".lock")
            try:
                lock.acquire()
                break
            except UserError:
                time.sleep(0.001)
        value = int(counter.read_text())
        time.sleep(0.001)
        counter.write_text(str(value + 1))
        lock.undo()


def test_nobody_gets_in_between_while_folders_come_and_go(tmp_path):
    """Files are removed with the lock: who locked a file that is gone must try again."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [FORK.Process(target=_count, args=(tmp_path, counter, 40)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert counter.read_text() == "160"
