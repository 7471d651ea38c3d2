"""A command's config: Hydra's groups, and the constants of the method that fit data and noise; see ``conf/train.yaml``."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.cli import places
from alasca_pl.cli.config_files import parsed_once
from alasca_pl.cli.constants import Applied, Noise, merged_values, noise_of, remarks, select
from alasca_pl.cli.recipes import choose
from alasca_pl.cli.refusals import composed as hydra_has_composed
from alasca_pl.cli.refusals import one_line
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name

places.register()
# A place in the defaults list, above the methods and below presets. It is empty until the constants are known.
_GROUP = "applied_constants"
_NODE = "constants"
_RECIPE = "recipe"
_FOLLOWS = "${epochs}"
# Groups whose files say where each of their values stands.
_AT_THE_TOP = ("method", "alasca", "experiment", "setting", "component", "scale", "debug")


class Composed(NamedTuple):
    """A composed config.

    Attributes:
        config: The config, not resolved, without Hydra's own node.
        choices: Chosen files by group.
        applied: Constants that apply.
        remarks: What the log says of constants.
        name: Name of the primary config.
        overrides: Options of the command line, and the one that puts the constants in place.
        run_dir: Hydra's folder for the output.
        recipe: Those of ``overrides`` that a recipe has put before the command line's.
    """

    config: DictConfig
    choices: dict[str, Any]
    applied: list[Applied]
    remarks: list[str]
    name: str
    overrides: list[str]
    run_dir: str
    recipe: list[str]


def compose_config(name: str, overrides: Sequence[str]) -> Composed:
    """Compose a config twice: to learn data and noise, and, if constants fit them, again with these constants.

    Hydra chooses files by the names of groups, before values such as ``noise.path`` exist. Constants depend on values, so
    they can only be chosen afterwards. The second composition puts them above the method and below trainer, presets and
    command line, which overrule them. A recipe depends on the images in the same way; its options are put before those of the
    command line.

    Args:
        name: Name of the primary config.
        overrides: Options of the command line.

    Raises:
        UserError: If a file of a group puts its values where nothing reads them, ``constants`` is not of the form that
            ``select`` describes, or a recipe does not fit the data.
    """
    config, choices, run_dir = _compose(name, overrides)
    _refuse_misplaced(config, choices)
    added: list[str] = []
    of_recipe: list[str] = []
    if config.get(_RECIPE):
        data_node = OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True)
        by_size = OmegaConf.to_container(config[_RECIPE], resolve=True)
        added, remark = choose(choices[_RECIPE], by_size, data_node, choices["data"], overrides)  # type: ignore[arg-type]
        of_recipe = [remark]
        overrides = [*added, *overrides]
        try:
            config, choices, run_dir = _compose(name, overrides)
        except HydraException as error:
            raise UserError(f"{one_line(error, overrides)} ({remark}; model=... chooses another network)") from error
    entries = OmegaConf.to_container(config[_NODE], resolve=False) if config.get(_NODE) else {}
    data = OmegaConf.select(config, "data.name", throw_on_missing=False)
    noise = _noise(config)
    applied = select(entries, data, noise, choices.get("scale"))  # type: ignore[arg-type]
    said = of_recipe + remarks(str(choices.get("method")), entries, applied, data, noise)  # type: ignore[arg-type]
    follows = _epochs_of_trainer(config, overrides)
    overrides = [*overrides, *follows]
    if applied:
        overrides.append(f"{_GROUP}=chosen")
    if applied or follows:
        with in_place(applied):
            config, choices, run_dir = _compose(name, overrides)
    with open_dict(config):
        config.pop(_NODE, None)
        config.pop(_RECIPE, None)
    choices.pop(_GROUP, None)
    return Composed(config, choices, applied, said, name, overrides, run_dir, added)


def _refuse_misplaced(config: DictConfig, choices: Mapping[str, Any]) -> None:
    for group in _AT_THE_TOP:
        if choices.get(group) and isinstance(config.get(group), DictConfig):
            raise UserError(
                f"the values of {group}/{choices[group]}.yaml stand below the name {group!r}, where nothing reads them; "
                "its first line must be: # @package _global_"
            )


@contextlib.contextmanager
def in_place(applied: Sequence[Applied]) -> Iterator[None]:
    """Let Hydra find constants that apply as a file of a group; without any this changes nothing."""
    store = ConfigStore.instance()
    if applied:
        store.store(group=_GROUP, name="chosen", node=merged_values(applied), package="_global_")
    try:
        yield
    finally:
        # Users are not to be offered this group.
        store.repo.pop(_GROUP, None)


# Hydra makes the folder of a run before anything is checked; with this option the current one.
NO_FOLDER = "hydra.run.dir=."


def given_overrides(kind: str) -> list[str]:
    """Overrides of the command that runs, ``task`` or ``hydra``, as they were given."""
    # Read as values of a config they would lose the escapes of what looks like an interpolation.
    return list(OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)[kind])  # type: ignore[call-overload,index]


def compose_command() -> Composed:
    """Compose the config of the command that runs, inside ``hydra.main``, without the option ``NO_FOLDER``."""
    hydra_has_composed()
    own = given_overrides("hydra")
    if NO_FOLDER in own:
        # The last one; Hydra appends options of its own.
        del own[len(own) - 1 - own[::-1].index(NO_FOLDER)]
    return compose_config(str(HydraConfig.get().job.config_name), [*own, *given_overrides("task")])


def _compose(name: str, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any], str]:
    try:
        with parsed_once():
            config = compose(name, list(overrides), return_hydra_config=True)
    except ValueError as error:
        # Hydra's own errors are of another kind, except for groups that are null.
        raise UserError(one_line(error, overrides)) from error
    choices = {
        group: choice for group, choice in config.hydra.runtime.choices.items() if not group.startswith("hydra/")
    }
    astray = next((f"{group}={choice}" for group, choice in choices.items() if ".." in str(choice)), None)
    if astray:
        raise UserError(f"{astray} leaves the folder of the group; name one of its files")
    # Outside of a command nobody asks for it, and it cannot be known.
    run_dir = (
        str(config.hydra.run.dir) if HydraConfig.initialized() and HydraConfig.get().mode != RunMode.MULTIRUN else ""
    )
    # Kept by what interpolations with "hydra:" look at, which need not be this config.
    with open_dict(config):
        del config["hydra"]
    return config, choices, run_dir


def _epochs_of_trainer(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The option that lets a trainer with a number of its own, as that of smoke tests, follow one on the command line."""
    given = {option_name(item) for item in overrides if "=" in item}
    trainer = OmegaConf.to_container(config.trainer, resolve=False) if config.get("trainer") else {}
    own = trainer.get("max_epochs", _FOLLOWS) if isinstance(trainer, dict) else _FOLLOWS
    if "epochs" not in given or "trainer.max_epochs" in given or own == _FOLLOWS:
        return []
    return [f"trainer.max_epochs={_FOLLOWS}"]


def _noise(config: DictConfig) -> Noise:
    try:
        node = OmegaConf.to_container(config.noise, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        return Noise(None, None)
    return noise_of(node)  # type: ignore[arg-type]
