"""Command lines of ``alasca-train`` at random, and rules of their own for which of them must not train.

Options are drawn from composed configs: known, misspelt, removed and added ones, with values of right and wrong types, out of
range, of odd sizes and in odd scripts. The rules are written down here by hand, and read neither the package's schema nor its
signatures.
"""

import functools
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra import initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl import cli
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.core.terminal import printable
from facts import METHODS
from outcomes import Ended, fresh, run_forked, typed

# A run of a second.
BASE = (
    "epochs=1", "data.max_train_samples=96", "data.max_test_samples=40", "data.num_val=30", "data.batch_size=32",
    "model.backbone.width=4", "callbacks=quiet",
)  # fmt: skip
GROUPS = {
    "method": METHODS,
    "alasca": ("none", "paper", "digits", "als", "uls"),
    "noise": ("symmetric", "asymmetric", "instance", "pairflip", "none"),
    "optim": ("sgd_steps", "sgd_cosine", "sgd_cosine_restarts", "adamw"),
    "aux": ("none", "all", "last"),
    "logger": ("none", "csv"),
}
WORDS = (
    "abc", "tru", "ä", "日本", "a b", "1,2x", "x\x1b[2Jy", "a\nb", "''", "\udcff", "../..", "0x1z", "5%", "none_", "a" * 3000,
)  # fmt: skip
INTEGERS = ("2", "3", "7", "0", "-1", "-7", "999999999", "9223372036854775808", str(10**40), str(-(10**23)))
FLOATS = ("1.5", "0.5", "-0.25", "1e300", "-1e300", "1e-300", "nan", "inf", "-inf", ".nan", ".inf", "1e400")
FLAGS = ("true", "false")
LISTS = ("[]", "[1]", "[a,b]", "[[1]]", "[null]", "[1,2,3,4,5,6,7,8,9]", "[-1]", "[true]", "[{a: 1}]")
MAPPINGS = ("{}", "{a: 1}", "{a: {b: [1,2]}}", "{1: 2}", "{_target_: os.getcwd}", "{_target_: builtins.dict}")
ODD = ("???", "${nothing}", "${oc.env:NO_SUCH_VARIABLE}", "${", "${seed", "[1", "{a", "'", '"', "\\", "a=b", "@", "*")
KINDS = {"word": WORDS, "integer": INTEGERS, "float": FLOATS, "flag": FLAGS, "list": LISTS, "mapping": MAPPINGS,
         "odd": ODD, "null": ("null",), "empty": ("",)}  # fmt: skip
TARGETS = (
    "os.system", "os.getcwd", "builtins.eval", "builtins.dict", "builtins.object", "subprocess.Popen", "torch.nn.Linear",
    "torch.nn.Identity", "alasca_pl.data.archives.extract", "alasca_pl.methods.no_such.Part", "alasca_pl.core.parts.Part",
    "torch.optim.NoSuch", "lightning.Callback", "pathlib.Path", "abc", "5", "null", "true", "[]", "{}", "''", "a.b.c", "..",
    "ä.ö",
)  # fmt: skip
NODES = (
    "criterion", "noise", "optim.optimizer", "optim.scheduler", "model.backbone", "step", "data", "data.reader", "selector",
    "mixer", "gradient_transform", "teacher", "callbacks.progress", "regularizers.alasca",
)  # fmt: skip
LINES = (
    "=5", "=", "abc", "epochs", "epochs=", "a.b.c=1", "epochs.x=1", "~no_such", "~epochs=2", "~optim", "~noise", "~data",
    "~criterion", "~trainer", "~model.backbone", "~seed", "~predict.rule", "+epochs=1", "++epochs=abc", "+optim=adamw",
    "--no-such-flag", "-x", "ckpt_path=no/such.ckpt", "ckpt_path=.", "ckpt_path=/dev/null", "--config-dir=no_such",
    "--config-name=no_such", "no_such@x=1", "method@optim=ce", "method=[ce,elr]", "method=ce,elr", "data=", "method=",
    "method=ce/../elr", "noise=null", "hydra/launcher=no", "data=npz", "data=folder", "data=csv data.path=no_such.csv",
    "data=folder data.root=.", "data=folder data.root=/dev/null", "data=cifar10 model=small", "noise=from_file",
    "noise=from_file noise.path=no_such.npz", "noise=human", "noise=matrix", "noise=matrix noise.matrix=[[1,0],[0,1]]",
    "noise=matrix noise.matrix=abc", "trainer.devices=0", "trainer.devices=-3", "trainer.devices=abc",
    "trainer.devices=[0,0]", "trainer.accelerator=abc", "trainer.strategy=abc", "trainer=gpu", "+trainer.fast_dev_run=abc",
    "+trainer.no_such=1", "+trainer.max_time=abc", "+trainer.check_val_every_n_epoch=0", "+trainer.val_check_interval=abc",
    "+trainer.max_steps=0", "model=timm model.backbone.name=no_such", "model.backbone.num_stages=99",
    "model.backbone.width=100000000", "aux.stages=[9]", "data.batch_size=100000000000", "optim.milestones=abc",
    "optim.milestones=[-1]", "+optim.lrr=1", "+data.batchsize=3", "+sead=3", "+criterion.no_such=1",
    "+callbacks.x={_target_: os.getcwd}", "+callbacks.x=5", "+callbacks.x={}", "+logger.x={_target_: os.getcwd}",
    "+logger.x=5", "+regularizers.x={_target_: os.getcwd}", "+regularizers.x=5", "sweep=", "sweep=../x", "sweep=a/b",
    "hydra.run.dir=", "hydra.run.dir=/proc/no", "hydra.run.dir=/dev/null/x", "hydra.run.dir=${nothing}",
    "hydra.run.dir=" + "a" * 300, "threads=abc", "threads=0", "threads=-1", "recipe=quick", "recipe=no", "setting=no",
    "scale=no", "component=no", "experiment=no", "debug=no", "trust=maybe", "replay=maybe", "audit.fold=abc",
    "audit.plant=0.9", "early_end.patience=0", "noise.rate=1.2", "seed=18446744073709551616",
    "optim.optimizer={_target_: torch.optim.SGD}", "hydra.verbosity=1", "hydra.job.chdir=abc", "data.class_map=abc",
    "data.mean=[0.5,0.5]", "data.std=[0]", "data.mean=abc", "data.num_classes=3", "data.num_samples=7",
    "data.subset_size=0", "data.augment=no_such", "data.num_val=100000", "data.num_val=-1", "data.max_train_samples=0",
    "data.max_train_samples=1", "data.max_test_samples=0",
)  # fmt: skip
# These may train, or answer.
HARMLESS = {
    "~seed", "~predict.rule", "hydra.run.dir=", "hydra.run.dir=" + "a" * 300, "~noise", "ckpt_path=", "epochs=",
    "data.max_test_samples=0", "+trainer.max_time=abc", "data=cifar10 model=small", "+optim=adamw", "trainer.devices=[0,0]",
    "~epochs=2", "data.mean=[0.5,0.5]", "method=ce,elr", "hydra.job.chdir=abc",
}  # fmt: skip

# Numbers by hand: from the last word of a name to the least and largest value.
_RANGES = (
    (r"(.*_)?seed", 0, 2**63 - 1),
    (r"(max_)?epochs|num_networks|(eval_)?batch_size|width|blocks|num_stages", 1, 2**40),
    (r"last_epochs|every|restart_epochs|max_iter", 1, 2**40),
    (r"(noise_)?rate|fraction|plant|threshold|(?<!log_)smoothing", 0, 1),
    (r"momentum|q", 0, 1),
    (r"lr|weight_decay|gamma|lowest_lr|(.*_)?strength|(.*_)?weight|.*temperature", 0, 1e40),
    (r"alpha|beta|radius|tol|.*_epochs?|.*_steps?", 0, 1e40),
)  # fmt: skip
_MAY_BE_NEGATIVE = ("log_zero", "devices", "out_indices")
# Values that are null by default, and what they may be.
_NULL_NUMBERS = (
    "limit_train_batches", "limit_val_batches", "gradient_clip_val", "num_samples", "max_train_samples", "max_test_samples",
    "subset_size", "padding", "every_n_steps", "patience", "truncate_below",
)  # fmt: skip
_ONE_OF_SOME = (
    "kind", "norm", "init", "memory_format", "rule", "average", "accelerator", "strategy", "precision", "variant",
    "projection", "pixels", "augment", "ema_on", "target", "aux_samples", "schedule", "listen", "gradient_scale", "greedy",
    "reference", "mix",
)  # fmt: skip
# A number with a fraction makes sense although the default has none.
_MAY_HAVE_FRACTION = re.compile(
    r".*(strength|weight|temperature|rate|momentum|smoothing|exponent|ramp_epochs|lr|gamma|alpha|beta|num_val|weight_decay|coef|limit_.*_batches)$"
)


class Line(NamedTuple):
    """Words of a command line, what was changed in it, and whether it must not train."""

    words: tuple[str, ...]
    changed: tuple[str, ...]
    is_wrong: bool


@functools.cache
def _leaves(base: tuple[str, ...]) -> dict[str, Any]:
    """Values of a composed config by dotted name."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose_config("train", base).config, resolve=True)
    return dict(_flat(config, ""))


def _flat(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            if not str(name).startswith("_"):
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif not re.search(
        r"(^|\.)(published_network|constants|class_map|usual|class_groups|name|groups|ckpt_path)(\.|$)", path
    ):
        yield path, node


def _number(name: str, text: str) -> bool:
    """Whether a number makes no sense as the value of an option of some name."""
    value = float(text.replace(".nan", "nan").replace(".inf", "inf"))
    last = name.rpartition(".")[2]
    if value != value or abs(value) == float("inf"):
        return True
    if value < 0 and last not in _MAY_BE_NEGATIVE:
        return True
    ranges = [(least, most) for pattern, least, most in _RANGES if re.fullmatch(pattern, last)]
    return any(not least <= value <= most for least, most in ranges)


def is_wrong(name: str, default: Any, kind: str, text: str) -> bool:
    """Whether a value must be refused, by its kind and what stands there by default; what is unclear may pass."""
    last = name.rpartition(".")[2]
    if kind == "odd":
        return text in ("???", "${nothing}", "${oc.env:NO_SUCH_VARIABLE}") or not isinstance(default, str)
    if default is None:
        if last in _NULL_NUMBERS:
            return kind in ("word", "flag", "list", "mapping") or (kind in ("integer", "float") and _number(name, text))
        return False
    if kind == "null" and name.startswith("trainer."):
        # Lightning's own default.
        return False
    if kind in ("null", "empty"):
        return isinstance(default, bool) or (
            isinstance(default, int | float) and last in ("seed", "epochs", "batch_size", "lr", "q")
        )
    if isinstance(default, bool):
        return kind != "flag"
    if isinstance(default, int | float):
        if kind not in ("integer", "float"):
            return True
        has_fraction = kind == "float" and isinstance(default, int) and not _MAY_HAVE_FRACTION.fullmatch(last)
        return has_fraction or _number(name, text) or (isinstance(default, int) and abs(float(text)) >= 2**63)
    if isinstance(default, str):
        may_be_node = last in ("augment", "strategy")
        odd = (kind in ("list", "mapping") and not (may_be_node and "_target_" in text)) or kind == "flag"
        return odd or (last in _ONE_OF_SOME and kind in ("word", "float"))
    # A list or mapping.
    return kind == "mapping" and isinstance(default, list)


def _misspelt(name: str, rng: random.Random) -> str:
    head, dot, last = name.rpartition(".")
    place = rng.randrange(len(last))
    other = rng.choice(
        [
            last[:place] + last[place + 1 :],
            last[:place] + "z" + last[place:],
            last + "s",
            last[::-1],
            last.upper() + "_",
        ]
    )
    return head + dot + (other or "zz")


def _change(leaves: Mapping[str, Any], rng: random.Random) -> tuple[list[str], str, bool]:
    """Words of one change, the name it concerns, and whether it is wrong."""
    sort = rng.choices(["value", "misspelt", "target", "remove", "add", "line"], [10, 2, 2, 1, 1, 4])[0]
    name = rng.choice(sorted(leaves))
    if sort == "line":
        line = rng.choice(LINES)
        return re.split(r" (?=[\w.]+=)", line), line, line not in HARMLESS
    if sort == "target":
        nodes = [node for node in NODES if any(leaf.startswith(f"{node}.") for leaf in leaves)] + ["criterion"]
        name = rng.choice(nodes)
        return [f"++{name}._target_={rng.choice(TARGETS)}"], f"{name}._target_", True
    kind = rng.choice([*KINDS, "word", "integer", "float", "float"])
    text = rng.choice(KINDS[kind])
    if sort == "misspelt":
        name = _misspelt(name, rng)
        return [f"{name}={text}"], name, True
    if sort == "remove":
        return [f"~{name}"], name, False
    if sort == "add":
        return [f"++{name}.{rng.choice(['x', 'y.z'])}={text}"], name, leaves[name] is not None
    return [f"{rng.choice(['', '', '++'])}{name}={text}"], name, is_wrong(name, leaves[name], kind, text)


def _touched(words: Iterable[str]) -> set[str]:
    return {re.split(r"[.=@/]", word.lstrip("+~"))[0] for word in words}


def make_line(number: int) -> Line:
    """The line of some number, always the same."""
    rng = random.Random(number)
    choices = tuple(f"{group}={rng.choice(sorted(names))}" for group, names in GROUPS.items() if rng.random() < 0.4)
    leaves = _leaves((*BASE, *choices))
    words, changed, touched, wrong = [*BASE, *choices], [], set(), False
    for _ in range(rng.choices([0, 1, 2, 3], [1, 8, 3, 1])[0]):
        more, name, is_one = _change(leaves, rng)
        if touched & _touched(more):
            # One of the changes might undo the other.
            continue
        touched |= _touched(more)
        words += more
        changed.append(name)
        wrong = wrong or is_one
    if rng.random() < 0.03:
        words = ["-m", *words, "seed=0,1"]
    return Line(tuple(words), tuple(changed), wrong)


def judge(line: Line, ended: Ended) -> str | None:
    """What is not well about how a line ended, or None."""
    if ended.kind == "done":
        return f"nonsense was accepted: {ended.message}" if line.is_wrong else None
    if ended.kind in ("stopped", "untold") and line.words[0] == "-m":
        # A sweep says how each of its jobs ended.
        return (
            "a job raised" if re.search(r"failed: (Attribute|Type|Key|Index|Assertion)Error", ended.message) else None
        )
    if ended.kind == "stopped" and line.is_wrong:
        return f"it was refused after something was written: {ended.message}; {ended.left}"
    if ended.kind not in ("refused", "stopped"):
        return f"{ended.kind}: {ended.message}"
    if "aux=none" in line.words and "needs auxiliary heads" in ended.message:
        return None
    if not line.changed:
        return f"a line without a change was refused: {ended.message}"
    names = [word for name in line.changed for word in re.findall(r"\w+", name)]
    values = [word.partition("=")[2][:40] for word in line.words[len(BASE) :]]
    if not any(word and word.lower() in ended.message.lower() for word in (*line.changed, *names, *values)):
        return f"the message names nothing of what was changed: {ended.message}"
    return None


def run_lines(folder: Path, numbers: Iterable[int]) -> tuple[list[tuple[str, Ended]], dict[str, str]]:
    """Run lines, each in a process and a folder of its own; return how each ended, and what is not well."""
    outcomes, wrong = [], {}
    for number in numbers:
        line = make_line(number)
        ended = run_forked(fresh(folder / "line"), typed(cli.train, *line.words))
        shown = f"{number}: {printable(' '.join(word for word in line.words if word not in BASE))[:600]}"
        outcomes.append((shown, ended))
        problem = judge(line, ended)
        if problem:
            wrong[shown] = problem
    return outcomes, wrong
