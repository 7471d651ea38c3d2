import pytest

from alasca_pl.core.metric_names import MetricName, accuracy, is_accuracy, of_quantity, per_network, splits_measured


@pytest.mark.parametrize(
    "name", [MetricName("train", "loss_base"), MetricName("alasca", "auroc", 1), MetricName("test", "acc", 12)]
)
def test_names_are_built_and_parsed(name):
    assert MetricName.parse(str(name)) == name


def test_the_form_of_names():
    assert str(MetricName("select", "f1")) == "select/f1"
    assert str(MetricName("select", "f1", 0)) == "select/f1/0"
    assert (accuracy("test"), accuracy("val", "main")) == ("test/acc", "val/acc_main")


@pytest.mark.parametrize("name", ["epoch", "", "/", "a/", "/b", "a/b/c", "a/b/1/2", "a/b/-1"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="not the name of a metric"):
        MetricName.parse(name)


def test_accuracies_are_told_from_other_metrics():
    names = [
        "epoch",
        "train/acc_clean",
        "val/acc",
        "imagenet/acc_main",
        "test/accident",
        "test/acc_main",
        "own",
        "a/b/c",
    ]
    assert [name for name in names if is_accuracy(name)] == ["val/acc", "imagenet/acc_main", "test/acc_main"]
    assert [name for name in names if is_accuracy(name, ["val"])] == ["val/acc"]
    assert splits_measured(names) == ["val", "imagenet", "test"]


def test_several_networks_have_numbers():
    assert per_network("select", "auroc", [0.5]) == {"select/auroc": 0.5}
    assert per_network("select", "auroc", [0.5, 0.6]) == {"select/auroc/0": 0.5, "select/auroc/1": 0.6}


def test_a_quantity_is_found_in_all_groups():
    metrics = {"alasca/auroc/1": 0.1, "select/auroc": 0.2, "train/auroc_loss": 0.3, "mine": 0.4}
    assert of_quantity(metrics, "auroc") == [
        (MetricName("alasca", "auroc", 1), 0.1),
        (MetricName("select", "auroc"), 0.2),
    ]
