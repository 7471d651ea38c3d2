"""A job of a tenth of a second: leaves what a run leaves, and behaves as it is told.

``python -I -S fake_job.py FOLDER WORD [SECONDS]``. Each epoch adds a line to the metrics and writes a checkpoint; a job that
finds one goes on from it. FOLDER/../starts and FOLDER/../ends get one line each time a job starts and finishes,
FOLDER/../signals one for each signal.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

folder, word = Path(sys.argv[1]), sys.argv[2]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.06
EPOCHS = 3


def note(file: str, text: str = folder.name) -> None:
    with (folder.parent / file).open("a") as lines:
        lines.write(f"{text}\n")


def put(path: Path, text: str) -> None:
    half = path.with_name(f"{path.name}.tmp")
    half.write_text(text)
    half.replace(path)


def stop(number: int, _: object) -> None:
    note("signals", str(number))
    sys.exit(1)


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
note("starts")
record, last = folder / "record.json", folder / "checkpoints" / "last.ckpt"
if record.exists() and not last.exists():
    print("error: the folder holds a run")
    sys.exit(1)
done = int(last.read_text()) if last.exists() else 0
note("resumed_at", f"{folder.name} {done}")
put(record, json.dumps({"status": "running"}))
if word == "raises":
    raise ValueError("loss is NaN in epoch 1")
if word == "exits":
    sys.exit(0)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "hangs":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if word == "forks":
    # As the loader workers of a run that is killed: it holds whatever it inherited.
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], close_fds=False)
if word == "memory" and len((folder.parent / "starts").read_text().splitlines()) < 3:
    os.kill(os.getpid(), signal.SIGKILL)
if word == "environment":
    put(folder / "environment.json", json.dumps(dict(os.environ)))
for epoch in range(done, EPOCHS):
    time.sleep(seconds / EPOCHS)
    rows = "epoch,val/acc\n" + "".join(f"{each},{0.5 + 0.1 * each}\n" for each in range(epoch + 1))
    put(folder / "metrics.csv", rows)
    last.parent.mkdir(exist_ok=True)
    put(last, str(epoch + 1))
    if word == "stops half-way" and epoch == 0 and done == 0:
        print("error: stopped half-way")
        sys.exit(1)
metrics = {"epoch": EPOCHS - 1, "val/acc": 0.5 + 0.1 * (EPOCHS - 1)}
note("ends")
put(record, json.dumps({"status": "finished", "duration_seconds": seconds, "metrics": {"last": metrics}}))
