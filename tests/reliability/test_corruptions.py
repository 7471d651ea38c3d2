"""Damaged and edited checkpoints are refused in one line, or go on; none ends in a traceback or hangs."""

import collections
import copy
import random
import shutil
import signal

import pytest
import torch

from alasca_pl.core.errors import UserError
from alasca_pl.runs import training_run as runs
from alasca_pl.runs.load import load_run
from running import FULL_STORMS, config_for, train, train_killed

SMALL = ("epochs=1", "data.max_train_samples=64", "data.max_test_samples=32", "data.num_val=32", "alasca=paper")
LONGER = ("epochs=2", *SMALL[1:])
SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def original(tmp_path_factory):
    """A run of one epoch, that it goes on from its own checkpoint, and how it then ends."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, *SMALL)
    return folder


def _places(node, path=()):
    """Paths to all nodes of nested containers."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, item in items:
        yield from _places(item, (*path, name))


def _changed(value, rng):
    """A value that does not fit where ``value`` stood."""
    if isinstance(value, torch.Tensor):
        others = [value.reshape(-1)[:-1], value.unsqueeze(0).expand(2, *value.shape).clone(), "text", None]
        others += [value.long() if value.is_floating_point() else value.double(), {"a": value}, [value]]
    elif isinstance(value, bool):
        others = ["yes", None, [value], 1.5]
    elif isinstance(value, int | float):
        others = [-1 - abs(value), "text", None, [value], {"a": value}, value + 10**6, float("nan"), True, 10**30]
    elif isinstance(value, dict | list):
        others = [None, "text", 7, [], {}, [value], torch.zeros(2)]
    else:
        others = [None, 7, "other", [value], torch.zeros(2), "x\x1b[2J\n"]
    return rng.choice(others)


def edited(content, rng):
    """Return a checkpoint with one change by hand, and what was changed."""
    content = copy.deepcopy(content)
    # Each part as often as another, however many entries it has.
    top = rng.choice(sorted(content))
    inner = rng.choice(sorted(_places(content[top]), key=repr))
    path = (top, *inner)
    node = content
    for name in path[:-1]:
        node = node[name]
    kind = rng.choice(["change", "change", "change", "remove", "add"])
    value = node[path[-1]]
    if kind == "remove":
        del node[path[-1]]
    elif kind == "add" and isinstance(value, dict):
        value["more"] = torch.zeros(3)
    else:
        node[path[-1]] = _changed(value, rng)
    return content, f"{kind} {'.'.join(map(str, path))}"


def flipped(content, rng):
    """Return the bytes of a checkpoint with one flipped bit, cut off, or with zeros in the middle."""
    changed = bytearray(content)
    kind = rng.choice(["flip", "flip", "head", "tail", "cut", "zeros", "more"])
    place = {"head": 200, "tail": len(changed)}.get(kind, len(changed))
    place = rng.randrange(len(changed) - 300, len(changed)) if kind == "tail" else rng.randrange(place)
    if kind == "cut":
        return bytes(changed[:place]), f"cut at {place}"
    if kind == "zeros":
        changed[place : place + 512] = bytes(len(changed[place : place + 512]))
        return (bytes(changed), f"zeros at {place}") if bytes(changed) != content else flipped(content, rng)
    if kind == "more":
        return bytes(changed) + b"\0" * 7, "more at the end"
    changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed), f"{kind} at {place}"


def _alarm(number, frame):
    raise TimeoutError


def outcome(folder, make):
    """What becomes of using a checkpoint: refused, trained, traceback or hang."""
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        make()
    except UserError as error:
        assert str(folder) in str(error) or "checkpoint" in str(error) or "differ" in str(error), error
        return "traceback" if "\n" in str(error) else "refused"
    except TimeoutError:
        return "hang"
    except Exception as error:
        return f"traceback {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "trained"


def tally(original, tmp_path, number, seed):
    """Try ``number`` corruptions; return what became of each, by kind."""
    rng = random.Random(seed)
    last = original / "checkpoints" / "last.ckpt"
    whole, content = last.read_bytes(), torch.load(last, weights_only=True)
    found = collections.defaultdict(list)
    for each in range(number):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        target = folder / "checkpoints" / "last.ckpt"
        by_hand = each % 2 == 0
        if by_hand:
            changed, what = edited(content, rng)
            torch.save(changed, target)
        else:
            changed, what = flipped(whole, rng)
            target.write_bytes(changed)
        config = config_for(*LONGER, f"ckpt_path={target}")
        ended = outcome(folder, lambda folder=folder, config=config: runs.train(runs.prepare(config, folder, {})))
        opened = outcome(folder, lambda folder=folder: load_run(folder))
        found["edited" if by_hand else "damaged"].append((what, ended, opened))
    return found


def _assert_well(found):
    for kind, results in found.items():
        wrong = [each for each in results if not {each[1], each[2]} <= {"refused", "trained"}]
        assert not wrong, f"{kind}: {wrong}"
    assert all(ended == opened == "refused" for _, ended, opened in found["damaged"])
    counts = {kind: collections.Counter(ended for _, ended, _ in results) for kind, results in found.items()}
    print(counts, [each[0] for each in found["edited"] if each[1] == "trained"])


# Torch warns of unknown pickle protocols before it gives up, Lightning of callbacks that a checkpoint lacks.
@pytest.mark.filterwarnings("ignore")
def test_a_few_corruptions(original, tmp_path):
    _assert_well(tally(original, tmp_path, 16, seed=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_corruptions(original, tmp_path):
    _assert_well(tally(original, tmp_path, 300 if FULL_STORMS else 120, seed=0))


def _momentum_of(content):
    return content["optimizer_states"][0]["state"][0]


def _momentum(content):
    return _momentum_of(content)["momentum_buffer"].view(-1)


def _group(content):
    return content["optimizer_states"][0]["param_groups"][0]


def test_weights_that_are_not_finite_are_refused_by_name(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    name = next(name for name in reversed(content["state_dict"]) if name.startswith("method.networks.0.aux_heads"))
    content["state_dict"][name].view(-1)[-1] = float("inf")
    torch.save(content, last)
    for use in (
        lambda: runs.prepare(config_for(*LONGER, f"ckpt_path={last}"), tmp_path / "run", {}),
        lambda: load_run(tmp_path / "run"),
    ):
        with pytest.raises(UserError, match=rf"state_dict\.{name} is not finite"):
            use()


@pytest.mark.parametrize("optim", ["sgd_cosine", "sgd_cosine_restarts", "adamw"])
def test_a_schedule_goes_on_where_it_was_also_within_an_epoch(tmp_path, optim):
    """What is compared with a schedule made anew must not refuse the real one."""
    options = (*LONGER[1:], f"optim={optim}", "checkpoint.every_n_steps=1")
    options = (*options, *(() if optim == "sgd_cosine_restarts" else ("optim.scheduler.T_max=2",)))
    train_killed(tmp_path / "run", 4, "epochs=2", *options)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    assert (stored["epoch"], stored["global_step"], stored["lr_schedulers"][0]["last_epoch"]) == (1, 3, 1)
    train(tmp_path / "run", "epochs=2", *options, f"ckpt_path={last}")
    record = train(tmp_path / "run", "epochs=3", *options, f"ckpt_path={last}")
    assert record.metrics["last"]["epoch"] == 2
    stored = torch.load(last, weights_only=True)
    assert stored["lr_schedulers"][0]["last_epoch"] == 3


def test_a_checkpoint_written_again_as_it_is_goes_on(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    torch.save(torch.load(last, weights_only=True), last)
    runs.train(runs.prepare(config_for(*LONGER, f"ckpt_path={last}"), tmp_path / "run", {}))
    assert load_run(tmp_path / "run").epoch == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["state_dict"].popitem(), "state_dict lacks"),
        (lambda c: c["state_dict"].update(more=torch.zeros(1)), "state_dict has unknown more"),
        (lambda c: c.update(global_step=5), "5, but 2 steps are counted"),
        (lambda c: c.update(epoch="one"), "epoch is 'one'"),
        (lambda c: c.update(global_step=-4), "global_step is -4"),
        (lambda c: c.update(global_step=None), "global_step is None"),
        (lambda c: c.pop("global_step"), "global_step"),
        (lambda c: c.update(epoch=7), "epoch is 7 with 1 rows"),
        (lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="fast"), "lr is of type str"),
        (
            lambda c: c["optimizer_states"][0]["state"][0].update(momentum_buffer=torch.zeros(3)),
            "momentum_buffer has shape",
        ),
        (lambda c: c["callbacks"]["History"].update(rows=[1]), "metrics of earlier epochs"),
        (lambda c: c["callbacks"].update(History=3), "metrics of earlier epochs"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(started=9), "current counts 1, 9, 1, 0"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(processed=None), "processed is missing"),
        (lambda c: c["loops"]["fit_loop"].pop("epoch_progress"), "lacks 'epoch_progress'"),
        (lambda c: c.update(lr_schedulers=[]), "lr_schedulers is of type list, not a list of length 1"),
        (lambda c: c.pop("loops"), "loops.fit_loop is missing, not a mapping"),
        (lambda c: c["alasca_pl"]["facts"].pop("mean"), "incomplete"),
        (lambda c: c["alasca_pl"]["facts"].update(num_classes="ten"), "facts.num_classes is 'ten'"),
        (lambda c: c["alasca_pl"].update(config=None), "it has no config"),
        (lambda c: _momentum(c)[:1].fill_(float("nan")), "state.0.momentum_buffer is not finite"),
        (lambda c: _momentum_of(c).update(momentum_buffer=torch.zeros(1)), "momentum_buffer has shape (1,)"),
        (lambda c: _momentum_of(c).update(momentum_buffer=0.0), "momentum_buffer is of type float, not numbers"),
        (lambda c: _momentum_of(c).clear(), "state.0 has nothing, not momentum_buffer"),
        (lambda c: _group(c).update(weight_decay=0.5), "weight_decay is 0.5, not 0.001"),
        (lambda c: _group(c).update(momentum=0.0), "momentum is 0.0, not 0.9"),
        (lambda c: _group(c).update(nesterov=True), "nesterov is True, not False"),
        (lambda c: _group(c).update(lr=0.5), "lr is 0.5, not 0.05"),
        (lambda c: c["lr_schedulers"][0].update(gamma=0.9), "lr_schedulers[0].gamma is 0.9, not 0.1"),
        (lambda c: c["lr_schedulers"][0].update(milestones={40: 1}), "lr_schedulers[0].milestones is {40: 1}, not"),
        (lambda c: c["lr_schedulers"][0].update(last_epoch=39), "lr_schedulers[0].last_epoch is 39 in epoch 0"),
        (lambda c: c["lr_schedulers"][0].update(_last_lr=[5.0]), "_last_lr[0] is 5.0, not 0.05"),
    ],
)
def test_what_was_edited_is_named_before_anything_is_trained(original, tmp_path, change, message):
    shutil.copytree(original, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    torch.save(content, last)
    with pytest.raises(UserError, match="checkpoint") as refused:
        runs.prepare(config_for(*LONGER, f"ckpt_path={last}"), tmp_path / "run", {})
    assert message in str(refused.value)
