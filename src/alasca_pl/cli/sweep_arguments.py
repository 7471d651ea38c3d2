"""Arguments of ``alasca-train`` that concern sweeps, in Hydra's terms."""

from collections.abc import Sequence

from alasca_pl.cli.arguments import take_flag
from alasca_pl.core.errors import UserError
from alasca_pl.sweeps.folders import check_name

_MULTIRUN = ("-m", "--multirun")


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
