"""``alasca-audit`` on a folder of images: from training to the corrected labels."""

import csv
import io
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import alasca_pl
from alasca_pl.audit.audit import Audit
from alasca_pl.audit.decisions import COLUMNS
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.noise.labels import NoisyLabels
from browser import Browser, find_browser
from cli.test_own_data import QUICK, save, snapshot, write_folder
from running import command

EVIL = "<img src=x onerror=window.hit=1>"
CLASSES = (EVIL, "cat", "dog, small")

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run on images of which some are in the wrong folder."""
    root = tmp_path_factory.mktemp("audit")
    write_folder(root / "images", CLASSES, train=24, test=0)
    for label, name in enumerate(CLASSES):
        for number in range(3):
            save(root / "images" / name / f'wrong {number} "q".jpg', (label + 1) % 3, 500 + number)
    outcome = command(
        root, *QUICK, "epochs=4", "data=folder", "data.root=images", "data.num_val=12", "audit.plant=0.1", "alasca=digits",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    # The last line names the next command.
    assert outcome.out.splitlines()[-1].endswith(f"alasca-audit {root / 'run'}")
    return root


@pytest.fixture(scope="module")
def audited(trained: Path) -> Path:
    before = snapshot(trained / "images")
    outcome = command(trained, "run", "sample=30", entry="audit")
    assert outcome.code == 0, outcome
    assert snapshot(trained / "images") == before
    assert "labels are estimated to be wrong" in outcome.out
    assert "without a person, the list relabelled replaces " in outcome.out
    assert "planted errors found" in outcome.out and "people's mistakes are harder" in outcome.out
    # The commands train as the run was trained, and are accepted.
    for name in ("clean", "relabelled"):
        (line,) = (line for line in outcome.out.splitlines() if line.startswith(f"{name}.csv: alasca-train "))
        config = command(trained, *shlex.split(line)[2:], "--cfg", "job")
        assert config.code == 0, config
        values = yaml.safe_load(config.out)
        assert values["epochs"] == 4 and values["data"]["num_val"] == 12 and values["audit"]["plant"] == 0.0
        assert (values["data"]["name"], values["data"]["path"]) == ("csv", f"run/audit/{name}.csv")
        assert values["regularizers"]["alasca"]["strength"] == 6.0 and values["model"]["backbone"]["width"] == 4
    return trained / "run" / "audit"


def test_every_label_is_ranked_but_the_planted_ones(audited: Path):
    noise = NoisyLabels.load(audited.parent / "noise.npz")
    assert noise.planted_from is not None
    count = int((noise.planted_from >= 0).sum())
    record = json.loads((audited.parent / "record.json").read_text())
    assert record["noise"]["planted"] == count == round(0.1 * len(noise.label))
    audit = Audit.load(audited / "audit.npz")
    assert audit.planted is not None and len(audit.planted) == count
    assert len(audit.suspects) == 81 - count and set(audit.suspects.split) == {"train", "val"}
    # The labels that people and files get are those that were given.
    names = SampleFile.load(audited.parent / "samples.npz").names
    assert audit.splits["train"].label.tolist() == [CLASSES.index(name.split("/")[0]) for name in names]
    rows = read(audited / "suspects.csv")
    shown = {row["path"] for row in rows}
    assert not shown & set(names[noise.planted_from >= 0]) and len(shown) == 81 - count
    assert all(row["path"].startswith(row["given_label"] + "/") for row in rows)


def test_agreement_of_the_heads_is_that_of_the_final_network(audited: Path):
    run = alasca_pl.load_run(audited.parent)
    audit = Audit.load(audited / "audit.npz")
    from alasca_pl.runs.stored import data_of

    data = data_of(run)
    (network,) = run.module.method.networks
    for split in ("train", "val"):
        heads = []
        for batch in data.eval_batches(split):
            output = network(batch.image)
            heads.append(np.stack([each.argmax(1).numpy() for each in (output.logits, *output.aux_logits)]))
        heads = np.concatenate(heads, axis=1)
        assert len(heads) > 1
        own = np.flatnonzero(audit.suspects.split == split)
        expected = [(heads[:, audit.suspects.row[place]] == audit.suspects.suggested[place]).mean() for place in own]
        assert audit.suspects.agreement[own].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["relabelled.csv", "clean.csv"])
def test_the_lists_can_be_trained_on(name, audited: Path, tmp_path: Path):
    images = audited.parents[1] / "images"
    outcome = command(tmp_path, *QUICK, "epochs=1", "data=csv", f"data.path={audited / name}", f"data.root={images}")
    assert outcome.code == 0, outcome


def test_nothing_is_overwritten_and_mistakes_are_one_line(audited: Path, tmp_path: Path):
    root = audited.parents[1]
    for arguments, message in (
        (["run"], "run is audited already, see run/audit/audit.html"),
        (["run", "output=other", "score=entropy"], "unknown score 'entropy'; choose one of margin"),
        (["run", "output=other", "page=none"], "page=none is no whole number"),
        (["run", "outputs=other"], "unknown option outputs="),
        (["nowhere"], "there is no folder nowhere"),
        (["apply", "run"], "no file run"),
        (["estimate", "run", "missing.csv"], "no file missing.csv"),
        (["estimate", "run"], "takes the folder of the audit"),
    ):
        outcome = command(root, *arguments, entry="audit")
        assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, (arguments, outcome)
    assert not (root / "other").exists()


def test_data_in_memory_get_lists_with_their_images(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", train_images=pixels, train_labels=np.arange(60) % 3)
    outcome = command(tmp_path, *QUICK, "epochs=1", "data=npz", "data.path=own.npz", "data.num_val=9")
    assert outcome.code == 0, outcome
    result = alasca_pl.audit_run(tmp_path / "run", output=tmp_path / "audit", sample=10)
    assert set(result.commands) == {"relabelled.npz", "clean.npz"} and result.recall == []
    with np.load(tmp_path / "audit" / "relabelled.npz") as file:
        index = np.load(tmp_path / "run" / "noise.npz")["index"]
        np.testing.assert_array_equal(file["train_images"][..., 0], pixels[index])
        assert len(file["val_labels"]) == 9 and "test_labels" not in file
    audit = result.audit
    row = audit.suspects.row[0]
    name = audit.class_names[audit.suspects.given[0]]
    split = audit.suspects.split[0]
    text = f"{','.join(COLUMNS)}\n{audit.identity},,{audit.index(0)},{split},{name},drop,,\n"
    (tmp_path / "audit" / "decisions.csv").write_text(text)
    outcome = command(tmp_path, "apply", "audit/decisions.csv", "output=better", entry="audit")
    assert outcome.code == 0 and "data=npz data.path=better.npz" in outcome.out, outcome
    with np.load(tmp_path / "better.npz") as file:
        assert len(file[f"{split}_labels"]) == len(audit.splits[split].label) - 1
        expected = np.delete(audit.splits[split].label, row)
        assert file[f"{split}_labels"].tolist() == expected.tolist()


def test_help_and_the_name_of_the_command():
    outcome = command(Path.cwd(), "--help", entry="audit")
    assert outcome.code == 0 and "alasca-audit apply DECISIONS" in outcome.out
    assert 'alasca-audit = "alasca_pl.cli:audit"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


@needs_browser
def test_people_decide_on_the_page_and_the_loop_closes(audited: Path, tmp_path: Path):
    root = audited.parents[1]
    audit = Audit.load(audited / "audit.npz")
    with Browser(tmp_path / "profile", tmp_path) as browser:
        browser.open(audited / "audit.html")
        assert "labels are estimated to be wrong" in browser.text("#estimate")
        # The slider tells what a budget finds.
        browser.run(
            "(() => { const b = document.querySelector('#budget'); b.value = 40; b.dispatchEvent(new Event('input')); })()"
        )
        part = round(100 * audit.suspects.probability[:40].sum() / audit.suspects.probability.sum())
        assert browser.text("#budget-text") == f"reviewing 40 images finds about {part} % of the estimated errors"
        assert browser.text("#progress") == "0 of 40 decided"
        # The first has a suggestion other than its label, so that it can be relabelled at once.
        assert audit.suspects.given[0] != audit.suspects.suggested[0]
        for key in ("2", "1", "3", "4"):
            browser.press(key)
        assert browser.text("#progress") == "4 of 40 decided"
        browser.press("ArrowLeft")
        browser.press("0")
        assert browser.text("#progress") == "3 of 40 decided"
        browser.press("4")
        browser.click("[data-place='5']")
        browser.click("[data-action=keep]")
        assert browser.run("document.querySelectorAll('.card[data-state]').length") == 5
        browser.reload()
        assert browser.text("#progress").startswith("5 of ")
        browser.click("[data-view=sample]")
        assert browser.text("#progress").endswith(f"of {len(audit.sample.place)} decided")
        while not browser.text("#progress").startswith(f"{len(audit.sample.place)} "):
            browser.press("1")
        browser.click("#export")
        file = browser.downloaded("decisions.csv")
        # Names that look like markup stay text, and nothing is fetched.
        browser.click("[data-view=pairs]")
        assert EVIL in browser.text("#pairs") and browser.run("window.hit === undefined")
        assert browser.run("document.querySelectorAll('main img[onerror], aside img[onerror]').length") == 0
        assert browser.errors == []
        assert all(url.startswith(("data:", "file:", "blob:")) for url in browser.requests)
        assert sum(url.startswith("file:") for url in browser.requests) == 2
    rows = {(row["split"], row["index"]): row for row in read(file)}
    actions = ["relabel", "keep", "drop", "unsure", None, "keep"]
    sampled = set(audit.sample.place.tolist())
    for place, action in enumerate(actions):
        if action is not None and place not in sampled:
            assert rows[str(audit.suspects.split[place]), str(audit.index(place))]["decision"] == action
    shutil.copy(file, root / "decisions.csv")
    outcome = command(root, "apply", "decisions.csv", "run", entry="audit")
    assert outcome.code == 0 and "data=csv" in outcome.out, outcome
    assert (audited / "corrected.csv").is_file()
    outcome = command(root, "estimate", "run", "decisions.csv", entry="audit")
    assert outcome.code == 0, outcome
    assert f"wrong labels in all, from {len(audit.sample.place)} of the random sample" in outcome.out


@needs_browser
def test_ten_thousand_suspects_need_few_elements(audited: Path, tmp_path: Path):
    page = (audited / "audit.html").read_text()
    start = page.index('id="data">') + len('id="data">')
    end = page.index("</script>", start)
    data = json.loads(page[start:end])
    first = data["items"][0]
    data["items"] = [
        [place + 1, "train", place, f"{place}.jpg", *first[4:8], -1, *first[9:]] for place in range(10_000)
    ]
    data |= {"shown": 10_000, "budget": 10_000, "found": [place / 10_000 for place in range(10_001)], "audit": "many"}
    text = json.dumps(data).replace("<", "\\u003c")
    (tmp_path / "many.html").write_text(page[:start] + text + page[end:])
    with Browser(tmp_path / "profile", tmp_path) as browser:
        browser.open(tmp_path / "many.html")
        assert browser.text("#progress") == "0 of 10,000 decided"
        for part in (0.0, 0.3, 0.9, 1.0):
            browser.run(
                f"(() => {{ const l = document.querySelector('#list'); l.scrollTop = {part} * l.scrollHeight; }})()"
            )
            browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert 10 < browser.run("document.querySelectorAll('.card').length") < 120
        assert (
            browser.run("Math.max(...[...document.querySelectorAll('.card')].map((c) => Number(c.dataset.place)))")
            == 9999
        )
        assert browser.errors == []
