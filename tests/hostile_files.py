"""Files that would harm, stop or mislead a program that reads them, at random, and what must not become of them.

Each is given to the command that reads such files. It may be used or refused in one line; it must not end in a traceback or
hang, nor be executed, nor write anything outside its folder.
"""

import io
import json
import os
import pickle
import random
import shutil
import socket
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from alasca_pl import cli
from outcomes import Ended, fresh, run_forked, typed

# Runs of a second.
SMALL = (
    "epochs=1",
    "model.backbone.width=4",
    "data.batch_size=8",
    "callbacks=quiet",
    "data.image_size=8",
    "data.num_workers=0",
)
NPZ = tuple(word for word in SMALL if not word.startswith(("data.image_size", "data.num_workers")))
Words = tuple[str, ...]


class _Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.target),)


def _image(path: Path, seed: int = 0, size: tuple[int, int] = (9, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, "PNG" if mode not in ("CMYK",) else "TIFF")


def _images(folder: Path, count: int = 6) -> None:
    for number in range(count):
        for name in ("a", "b"):
            _image(folder / name / f"{number}.png", number)


def _bad_image(path: Path, rng: random.Random) -> None:
    whole = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(whole, "PNG")
    png, kind = bytearray(whole.getvalue()), rng.randrange(10)
    if kind == 0:
        path.write_bytes(png[: rng.randrange(len(png))])
    elif kind == 1:
        # The header of an image of 60,000 x 60,000 pixels.
        path.write_bytes(bytes(png[:16]) + (60_000).to_bytes(4, "big") * 2 + bytes(png[24:]))
    elif kind == 2:
        path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>")
    elif kind == 3:
        frames = [Image.new("P", (9, 8), number) for number in range(3)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    elif kind == 4:
        _image(path, mode="CMYK")
    elif kind == 5:
        Image.fromarray(np.full((8, 9), 700, dtype=np.uint16)).save(path, "PNG")
    elif kind == 6:
        _image(path, size=rng.choice([(1, 1), (20_000, 1), (1, 20_000)]))
    elif kind == 7:
        for _ in range(rng.randrange(1, 40)):
            png[rng.randrange(len(png))] ^= 1 << rng.randrange(8)
        path.write_bytes(png)
    elif kind == 8:
        path.write_bytes(rng.randbytes(rng.choice([0, 1, 100])))
    else:
        path.write_bytes(b"\xff\xd8\xff\xe0" + rng.randbytes(50))


def image(folder: Path, rng: random.Random) -> Words:
    """A folder of images one of which is none, or an odd one."""
    _images(folder / "data")
    _bad_image(folder / "data" / "a" / rng.choice(["x.png", "x.jpg", "x.gif", "x.webp", "x.tif"]), rng)
    more = rng.choice([(), ("data.check=header",), ("data.check=none",), ("data.on_corrupt=skip",)])
    return ("data=folder", "data.root=data", *SMALL, *more)


def special(folder: Path, rng: random.Random) -> Words:
    """A folder with pipes, sockets, loops of links, links to devices, and names that are no text."""
    data = folder / "data"
    _images(data)
    odd = data / "a" / "x.png"
    kind = rng.randrange(9)
    if kind == 0:
        os.mkfifo(odd)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(odd))
    elif kind == 2:
        odd.symlink_to(odd)
    elif kind == 3:
        (data / "a" / "loop").symlink_to(data, target_is_directory=True)
    elif kind == 4:
        odd.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem"]))
    elif kind == 5:
        _image(Path(os.fsdecode(os.fsencode(data / "a") + b"/\xff\xfe.png")))
    elif kind == 6:
        _image(
            data
            / "a"
            / rng.choice(["a\nb.png", "\x1b[2J.png", "\u202egnp.png", " .png", "-rf.png", "a" * 240 + ".png"])
        )
    elif kind == 7:
        _image(data / rng.choice(["a\nb", "\x1b[31mred", "\u202ecba", "a ", "<b>", "=1+1", "'; --"]) / "1.png")
    else:
        shutil.rmtree(data / "a")
        (data / "a").mkdir()
        (data / "a" / "x.png").mkdir()
    return ("data=folder", "data.root=data", *SMALL, *rng.choice([(), ("data.check=header",)]))


def archive(folder: Path, rng: random.Random) -> Words:
    """An archive that would write elsewhere, is larger than it seems, or holds links and devices."""
    _images(folder / "images")
    kind = rng.randrange(8)
    path = folder / ("data.zip" if kind < 4 else "data.tar")
    if kind < 4:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            # That a name is there twice.
            warnings.simplefilter("ignore")
            for each in sorted((folder / "images").rglob("*.png")):
                file.write(each, each.relative_to(folder / "images"))
            if kind == 0:
                file.write(
                    folder / "images/a/0.png",
                    rng.choice(["../out.png", "/tmp/../out.png", "a/../../out.png", "..\\out.png"]),
                )
            elif kind == 1:
                file.writestr("a/bomb.png", bytes(30_000_000))
            elif kind == 2:
                link = zipfile.ZipInfo("a/link.png")
                link.external_attr = 0o120777 << 16
                file.writestr(link, "/etc/passwd")
            else:
                file.writestr("a/0.png", b"twice")
    else:
        with tarfile.open(path, "w") as file:
            file.add(folder / "images", ".")
            entry = tarfile.TarInfo(rng.choice(["../out.png", "/out.png"]) if kind == 4 else "a/odd.png")
            entry.type = {4: tarfile.REGTYPE, 5: tarfile.SYMTYPE, 6: tarfile.LNKTYPE, 7: tarfile.CHRTYPE}[kind]
            entry.linkname = rng.choice(["/etc/passwd", "../../../out.png"])
            file.addfile(entry)
    shutil.rmtree(folder / "images")
    if rng.random() < 0.3:
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])
    return ("data=folder", f"data.root={path.name}", "data.extract_to=unpacked", *SMALL)


def table(folder: Path, rng: random.Random) -> Words:
    """A csv file with odd bytes, fields, quotes, lengths or paths."""
    _images(folder / "data")
    lines = ["path,label", *(f"data/{name}/{number}.png,{name}" for name in "ab" for number in range(6))]
    kind, place = rng.randrange(12), rng.randrange(1, 12)
    encoding = "utf-8"
    if kind == 0:
        lines[place] += "\0"
    elif kind == 1:
        encoding = rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-le"])
    elif kind == 2:
        lines[place] = "data/a/0.png," + "x" * 10**6
    elif kind == 3:
        lines[place] = rng.choice(['"', 'data/a/0.png,"a', '"data/a/0.png" x,a', "'data/a/0.png',a"])
    elif kind == 4:
        lines[place] = (
            f"data/a/0.png,{rng.choice(['=1+1', '@SUM(A1)', '+cmd', chr(27) + '[2J', 'a' + chr(8238) + 'b', '1e400', 'nan'])}"
        )
    elif kind == 5:
        lines[place] = (
            f"{rng.choice(['/etc/passwd', '../x.png', 'data', '.', '/dev/zero', '~/x.png', 'C:x.png', 'a' * 5000])},a"
        )
    elif kind == 6:
        lines = [line.replace("\n", "\r") + "\r" for line in lines]
    elif kind == 7:
        lines[0] = rng.choice(
            ["", "path", "path,label,label", "label", "path;label", "PATH,LABEL", "path,label,x" * 99]
        )
    elif kind == 8:
        lines = [
            f"{path},{label}"
            for path, label in ((line.split(",")[0], rng.choice(["0", "-1", "1.5", "9" * 40])) for line in lines)
        ]
        lines[0] = "path,label"
    elif kind == 9:
        lines = lines[:1]
    elif kind == 10:
        lines.append(lines[place])
    content = "\n".join(lines).encode(encoding)
    (folder / "table.csv").write_bytes(rng.randbytes(3000) if kind == 11 else content)
    return ("data=csv", "data.path=table.csv", *SMALL)


def arrays(folder: Path, rng: random.Random) -> Words:
    """An npz file with objects, wrong shapes or types, or damage."""
    made: dict[str, np.ndarray] = {
        "train_images": np.zeros((24, 8, 8, 1), np.uint8), "train_labels": np.arange(24) % 2,
        "test_images": np.zeros((8, 8, 8, 1), np.uint8), "test_labels": np.arange(8) % 2,
    }  # fmt: skip
    kind, name = rng.randrange(8), rng.choice(sorted(made))
    path = folder / "data.npz"
    if kind == 0:
        made[name] = np.array([_Payload(folder / "executed")], dtype=object)
    elif kind == 1:
        made[name] = made[name].astype(rng.choice([np.float64, np.complex128, "U3", "M8[s]", np.bool_, ">i8", np.int8]))
    elif kind == 2:
        made[name] = made[name][rng.choice([slice(0), slice(1), slice(3)])]
    elif kind == 3:
        made[name] = made[name].reshape(rng.choice([(-1, 1), (1, -1), (-1,)]))
    elif kind == 4:
        made["train_labels"] = made["train_labels"] * rng.choice([-1, 10**6, 2**62]) + rng.choice([0, 1])
    elif kind == 5:
        del made[name]
    np.savez(path, **made)
    content = path.read_bytes()
    if kind == 6:
        path.write_bytes(content[: rng.randrange(len(content))])
    elif kind == 7:
        path.write_bytes(rng.choice([b"", pickle.dumps(_Payload(folder / "executed")), rng.randbytes(300)]))
    return ("data=npz", "data.path=data.npz", *NPZ)


def checkpoint(folder: Path, rng: random.Random) -> Words:
    """Something that is called a checkpoint, and is none."""
    path = folder / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    kind = rng.randrange(6)
    if kind == 0:
        path.write_bytes(pickle.dumps(_Payload(folder / "executed"), rng.randrange(6)))
    elif kind == 1:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(_Payload(folder / "executed"), 2))
            file.writestr("archive/version", "3\n")
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.write_bytes(rng.choice([b"", b"text\n", rng.randbytes(1000)]))
    elif kind == 4:
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    return (f"ckpt_path={rng.choice(['run', 'run/checkpoints/last.ckpt'])}",)


def records(folder: Path, rng: random.Random) -> Words:
    """A record of a run, or an exported sweep, that is none."""
    path = folder / "run" / "record.json"
    path.parent.mkdir()
    kind = rng.randrange(8)
    if kind == 0:
        text = "[" * 100_000
    elif kind == 1:
        text = json.dumps({"status": "finished", "metrics": {"last": {"test/acc": float("nan")}}, "seed": 10**400})
    elif kind == 2:
        text = '{"status": "finished", "status": "running", "config": {"a": 1, "a": 2}}'
    elif kind == 3:
        text = json.dumps(
            rng.choice([None, 3, "x", [], [[]], {}, {"status": 3}, {"config": "x"}, {"format": "alasca_pl sweep 1"}])
        )
    elif kind == 4:
        text = json.dumps(
            {
                "format": "alasca_pl sweep 1",
                "sweep": "x",
                "jobs": [{"folder": "../out-0123456789ab", "record": {}}],
                "checksum": "0",
            }
        )
    elif kind == 5:
        text = "\ufeff{}"
    elif kind == 6:
        text = "{" + rng.randbytes(40).hex()
    else:
        text = json.dumps({"_target_": "os.mkdir", "path": str(folder / "executed")})
    path.write_text(text)
    if rng.random() < 0.2:
        path.write_bytes(rng.randbytes(200))
    (folder / "run" / "metrics.csv").write_text(
        rng.choice(["", "epoch", "epoch,test/acc\n0,=1+1\n", "\0\0", "epoch\n" + "9" * 5000])
    )
    return rng.choice([("run",), ("run", "rows=method"), ("import", "new", "run/record.json")])


def pictures(folder: Path, rng: random.Random) -> Words:
    """Images for ``alasca-predict``, one of which is none, or an odd one; the run is in the folder above."""
    for number in range(3):
        _image(folder / "photos" / f"{number}.png", number)
    _bad_image(folder / "photos" / rng.choice(["x.png", "x.jpg", "a\nb.png", "=1+1.png"]), rng)
    return (os.environ[_MODEL], "photos", *rng.choice([(), ("data.on_corrupt=skip",)]))


# Where the run is that predicts.
_MODEL = "HOSTILE_FILES_MODEL"
KINDS = (image, special, archive, table, arrays, checkpoint, records, pictures)


def _command(kind: Callable[[Path, random.Random], Words], words: Words, rng: random.Random) -> Callable[[], None]:
    if kind is records:
        return cli.sweep if words[0] == "import" else cli.report
    if kind is pictures:
        return cli.predict
    return cli.evaluate if kind is checkpoint and rng.random() < 0.5 else cli.train


def run_files(folder: Path, numbers: Iterable[int]) -> tuple[list[tuple[str, Ended]], dict[str, str]]:
    """Give files to commands, each in a process and a folder of its own; return how each ended, and what is not well."""
    outcomes, wrong = [], {}
    model = folder / "model"
    if not model.exists():
        _images(fresh(model) / "data", 20)
        made = run_forked(model, typed(cli.train, "data=folder", "data.root=data", "hydra.run.dir=run", *SMALL))
        assert made.kind == "done", made
    os.environ[_MODEL] = str(model / "run")
    for number in numbers:
        rng = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        place = fresh(folder / "around" / "inside")
        before = Path.cwd()
        os.chdir(place)
        try:
            words = kind(place, rng)
        finally:
            os.chdir(before)
        ended = run_forked(place, typed(_command(kind, words, rng), *words))
        shown = f"{number}: {kind.__name__} {' '.join(words)}"
        outcomes.append((shown, ended))
        if ended.kind not in ("done", "refused", "stopped"):
            wrong[shown] = f"{ended.kind}: {ended.message}"
        elif (place / "executed").exists() or {path.name for path in place.parent.iterdir()} != {"inside"}:
            wrong[shown] = "it was executed, or wrote outside its folder"
        elif ended.kind == "stopped" and any(name.startswith(("runs", "new")) for name in ended.left):
            wrong[shown] = f"it was refused after something had begun: {ended.message}"
        shutil.rmtree(place.parent)
    return outcomes, wrong
