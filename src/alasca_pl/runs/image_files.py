"""Image files in places that somebody names."""

from collections.abc import Sequence
from pathlib import Path

from alasca_pl.core.errors import UserError
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
