"""The command that a resumed run repeats, from its checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from alasca_pl.build.trust import refuse_foreign_overrides
from alasca_pl.core.checkpoint import command_of, read_checkpoint
from alasca_pl.core.errors import UserError


def saved_command(checkpoint: Path) -> tuple[list[str], list[str]]:
    """Return the overrides and the options for folders of configs of the command that wrote a checkpoint."""
    return command_of(read_checkpoint(checkpoint))


def refuse_foreign_command(overrides: Sequence[str], config_dirs: Sequence[str], path: Path) -> None:
    """Refuse to repeat a command that would call anything from outside this package.

    Args:
        overrides: The command's overrides.
        config_dirs: Its options for folders of configs.
        path: Where they are from, for the message.

    Raises:
        UserError: If it would, or might.
    """
    if config_dirs:
        raise UserError(
            f"{path} was made with configs in {config_dirs[-1]}; give --config-dir again, or, if you know where the file "
            "comes from, allow it with trust=true"
        )
    refuse_foreign_overrides(overrides, path)


def needs_trust(overrides: Sequence[str], config_dirs: Sequence[str]) -> bool:
    """Whether a command is only repeated with ``trust=true``."""
    try:
        refuse_foreign_command(overrides, config_dirs, Path())
    except UserError:
        return True
    return False
