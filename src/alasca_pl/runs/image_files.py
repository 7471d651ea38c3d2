"""Image files in places that somebody names."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from alasca_pl.core.errors import UserError
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.data.images import EXTENSIONS


def find_images(places: Sequence[Path]) -> list[Path]:
    """Image files: those given, and all below given folders, in the order of their names; hidden files are left out.

    Raises:
        UserError: If a place does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = [
                path
                for path in sorted(place.rglob("*"))
                if path.suffix.lower() in EXTENSIONS
                and path.is_file()
                and not any(part.startswith(".") for part in path.relative_to(place).parts)
            ]
            if not inside:
                raise UserError(f"no image in {place}; images end in {', '.join(sorted(EXTENSIONS))}")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise UserError(f"no file or folder {place}")
    return found


def refuse_images(place: str) -> None:
    """Raise ``UserError`` for a folder of images where one of a run is asked for: there is nothing to rank labels by yet."""
    run = RunFolder(place)
    files = (file for file in run.path.glob("*/*") if file.suffix.lower() in EXTENSIONS)
    if not run.record.exists() and not run.checkpoints.exists() and next(files, None) is not None:
        raise UserError(
            f"{place} holds no run; alasca-audit data=folder data.root={shlex.quote(place)} trains on the images in it, "
            "and audits them"
        )
