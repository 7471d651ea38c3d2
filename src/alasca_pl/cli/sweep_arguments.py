"""Arguments of ``alasca-train`` that concern sweeps, in Hydra's terms."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from alasca_pl.cli.arguments import take_flag
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import one_choice
from alasca_pl.sweeps.folders import check_name

_MULTIRUN = ("-m", "--multirun")
# What the files of a method fill.
_SLOTS = ("criterion", "selector", "mixer", "regularizers", "gradient_transform", "teacher", "step", "phases")


def sweep_arguments(arguments: Sequence[str]) -> list[str]:
    """Translate ``sweep=NAME`` and ``--dry-run``, also written ``dry_run=true``; both make the line a sweep, also without ``-m``.

    Raises:
        UserError: If the sweep has no safe name, or two places.
    """
    names = [item.partition("=")[2] for item in arguments if item.startswith("sweep=")]
    dry, arguments = take_flag(arguments, "dry_run")
    if not names and not dry:
        return list(arguments)
    if len(names) > 1 or (names and any(item.startswith("hydra.sweep.dir=") for item in arguments)):
        raise UserError("a line belongs to one sweep; give sweep=NAME once, and no hydra.sweep.dir")
    added = [f"hydra.sweep.dir=sweeps/{check_name(names[0])}"] if names else []
    added += ["hydra.launcher.dry_run=true"] if dry else []
    kept = [item for item in arguments if not item.startswith("sweep=") and item not in _MULTIRUN]
    # Overrides must stand together.
    first = next((place for place, item in enumerate(kept) if _is_override(kept, place)), len(kept))
    return ["-m", *kept[:first], *added, *kept[first:]]


def _is_override(arguments: Sequence[str], place: int) -> bool:
    takes_a_value = place > 0 and arguments[place - 1].startswith("-") and "=" not in arguments[place - 1]
    return "=" in arguments[place] and not arguments[place].startswith("-") and not takes_a_value


def options_of_parts(arguments: Sequence[str]) -> list[str]:
    """Leave options of a method's parts to the jobs: ``criterion.matrix=oracle`` becomes a choice of one value.

    Hydra composes a sweep's own config without what is swept, thus with the default method, whose parts lack them.

    Example:
        >>> options_of_parts(["-m", "method=forward,backward", "criterion.matrix=oracle", "epochs=2"])
        ['-m', 'method=forward,backward', 'criterion.matrix=choice(oracle)', 'epochs=2']
    """
    return [
        _left_to_jobs(item) if item.startswith(tuple(f"{slot}." for slot in _SLOTS)) else item for item in arguments
    ]


def _left_to_jobs(item: str) -> str:
    try:
        override = OverridesParser.create().parse_override(item)
    except HydraException:
        return item
    if override.is_sweep_override() or not override.get_value_string():
        return item
    return one_choice(override.get_key_element(), override.get_value_string())
