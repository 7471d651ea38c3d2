"""What a run's record says of the command that made it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.cli.common import plain_config
from alasca_pl.cli.composition import Composed, compose_config
from alasca_pl.cli.constants import merged_values
from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import identity, job_digest


def about_run(
    composed: Composed, config: Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str]
) -> dict[str, Any]:
    """Values of the record, see ``core.record.RunRecord``.

    Args:
        composed: The composed config.
        config: The same, resolved, as plain containers.
        overrides: Options as they were given.
        config_dirs: Options for folders of configs.
    """
    return {
        "overrides": list(overrides),
        "config_dirs": list(config_dirs),
        "choices": composed.choices,
        "digest": job_digest(config),
        "constants": [entry.name for entry in composed.applied],
        "constants_set": list(identity(merged_values(composed.applied))),
    }


def recompose(overrides: Sequence[str]) -> dict[str, Any] | None:
    """Today's config of another command's overrides; None if it cannot be composed any more."""
    try:
        return plain_config(compose_config(str(HydraConfig.get().job.config_name), list(overrides)).config)
    except (HydraException, OmegaConfBaseException, UserError):
        return None
