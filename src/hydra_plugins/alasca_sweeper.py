"""Hydra's sweeper of alasca_pl. Imported at each start of any Hydra program, so it imports little itself."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from alasca_pl.core.overrides import option_name


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper, for launchers that check all jobs themselves; a refused sweep leaves no folder.

    Args:
        max_batch_size: See Hydra.
        params: Options to values separated by commas, of all grids.
        grids: Further options to values, one mapping per grid; the jobs of all grids are run. An option of the command line
            takes the place of a grid's values; one that only some grids have concerns these only. A grid with no value but others
            for it is left out: with ``method=elr`` the grids of other methods are.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        grids: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.grids = [dict(grid) for grid in grids or ()]

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        shared, given = overrides[: len(self.params)], overrides[len(self.params) :]
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        names = {name for grid in self.grids for name in grid}
        # Options of grids that have not yet been of use.
        idle = {one.get_key_element() for one in given} & names
        jobs = []
        for grid in self.grids or [{}]:
            own = parser.parse_overrides([f"{name}={value}" for name, value in grid.items()])
            asked = {one.get_key_element(): one for one in given}
            fixed = [one for one in own if not one.is_sweep_override() and one.get_key_element() in asked]
            values = {one.get_key_element(): _values(asked[one.get_key_element()]) for one in fixed}
            if all(_values(one)[0] in values[one.get_key_element()] for one in fixed):
                others = names - grid.keys()
                rest = [one for one in given if one.get_key_element() not in values.keys() | others]
                idle -= grid.keys()
                for batch in BasicSweeper.split_arguments([*shared, *own, *rest], None):
                    jobs += batch
        if not jobs:
            raise CompactHydraException("no grid of this sweep has the values that the command line gives")
        if idle:
            raise CompactHydraException(
                f"{', '.join(sorted(idle))} concerns none of the grids that the command line leaves"
            )
        return list(BasicSweeper.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the check to the launcher, which names all wrong jobs instead of the first."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        if not any(option_name(item) == "hydra.sweep.dir" for item in given_options(self.config)):
            make_new_folder(self.config)
        try:
            return super().sweep(arguments)
        finally:
            folder = Path(str(self.config.hydra.sweep.dir))
            if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"multirun.yaml"}:
                (folder / "multirun.yaml").unlink(missing_ok=True)
                # The folder of all sweeps goes only if it is empty, too.
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    if folder.parent.name == "sweeps":
                        folder.parent.rmdir()


def _values(override: Override) -> list[str]:
    """Values of an override, written as in a job's command."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def make_new_folder(config: DictConfig) -> None:
    """Make the folder of a sweep without a name; where it exists, one with a number after its name."""
    from alasca_pl.core.folder_lock import numbered

    for folder in numbered(Path(str(config.hydra.sweep.dir))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)


def given_options(config: DictConfig) -> list[str]:
    """Options of Hydra's own as they were given; read as values they would lose the escapes of interpolations."""
    given = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    assert isinstance(given, dict)
    return [str(item) for item in given["hydra"]]
