"""A workspace of Weights & Biases with the panels that a reader of the paper expects; needs the extra ``wandb``."""

from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.metric_names import (
    ACC_CLEAN,
    ACC_OBSERVED,
    CONFIDENCE_CLEAN,
    CONFIDENCE_WRONG,
    LOSS,
    LOSS_OF_STEP,
    MEMORISED,
    SELECT,
    TEST,
    TRAIN,
    VAL,
    MetricName,
    accuracy,
)

# Heading to the panels below it: title, and the metrics in it.
_SECTIONS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "Accuracy": (
        ("Test accuracy (clean labels, where the data have them)", (accuracy(TEST),)),
        ("Test accuracy of the main head and of ensembles", tuple(accuracy(TEST, rule) for rule in ("main", "ensemble_all"))),
        ("Validation accuracy (noisy labels)", (accuracy(VAL),)),
    ),
    "Memorisation": (
        ("Noisy labels memorised", (MEMORISED,)),
        ("Training accuracy on given and on clean labels", (ACC_OBSERVED, ACC_CLEAN)),
    ),
    "Confidence in the given labels": (
        ("ALASCA's, of clean and of noisy samples", tuple(f"alasca/{name}" for name in (CONFIDENCE_CLEAN, CONFIDENCE_WRONG))),
        ("The networks' own", tuple(f"{TRAIN}/{name}" for name in (CONFIDENCE_CLEAN, CONFIDENCE_WRONG))),
        ("AUROC for detecting noisy labels", ("alasca/auroc", f"{TRAIN}/auroc_loss")),
    ),
    "Selection": (
        ("F1 of the selected samples", (str(MetricName(SELECT, "f1")),)),
        ("Precision and recall", (str(MetricName(SELECT, "precision")), str(MetricName(SELECT, "recall")))),
        ("Fraction selected", (str(MetricName(SELECT, "rate")),)),
    ),
    "Loss": (("Mean of each epoch", (LOSS, f"{TRAIN}/loss_base", f"{TRAIN}/loss_alasca")), ("Each step", (LOSS_OF_STEP,))),
}  # fmt: skip
_MEDIA = ("curves", "transition_matrix")
_TABLE = "suspects"


def make_workspace(entity: str, project: str = "alasca_pl", name: str = "ALASCA") -> Any:
    """Describe a workspace; its method ``save`` sends it to W&B and prints its address.

    Runs are grouped by sweep and job type, thus seeds are shown as mean and range.

    Args:
        entity: User or team in W&B.
        project: Project in W&B, as in ``logger.wandb.project``.
        name: Name of the workspace.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``.

    Raises:
        UserError: If wandb-workspaces is not installed.

    Example:
        >>> workspace = make_workspace("my-team")
        >>> [section.name for section in workspace.sections][:2]
        ['Accuracy', 'Memorisation']
    """
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2 as panels
    except ModuleNotFoundError as error:
        raise UserError("a workspace needs wandb-workspaces; install it with pip install 'alasca-pl[wandb]'") from error
    sections = [
        workspaces.Section(
            name=heading,
            is_open=True,
            panels=[
                panels.LinePlot(
                    title=title, x="trainer/global_step" if LOSS_OF_STEP in metrics else "epoch", y=list(metrics)
                )
                for title, metrics in shown
            ],
        )
        for heading, shown in _SECTIONS.items()
    ]
    results: list[Any] = [panels.MediaBrowser(title=key, media_keys=[key]) for key in _MEDIA]
    results.append(panels.WeavePanelSummaryTable(table_name=_TABLE))
    sections.append(workspaces.Section(name="Results of single runs", is_open=True, panels=results))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Metric("Group"), workspaces.Metric("JobType")],
        ),
    )
