"""Recipes for images of one's own: options that depend on the size of the images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alasca_pl.cli.places import OWN_DATA
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name

# Up to this height or width, as where files are resized right after decoding.
SMALL = 64


class Recipe(NamedTuple):
    """What a recipe adds to a command.

    Attributes:
        options: Options, to be put before those of the command line.
        remark: What the log says of it.
    """

    options: list[str]
    remark: str


def choose(
    name: str, by_size: Mapping[str, Sequence[str]], data: Mapping[str, Any], kind: str, given: Sequence[str]
) -> Recipe:
    """Choose the options of a recipe by the size of the images, leaving out those that are given by hand.

    An option by hand takes the place of the recipe's of the same name. If that one chooses a file, it also takes the place of
    those below, unless it chooses the same: with ``model=resnet50`` the recipe's ``model.backbone.width`` has no meaning.

    Args:
        name: Name of the recipe.
        by_size: Options for ``small`` and for ``large`` images.
        data: Resolved group ``data``.
        kind: Choice of the group ``data``.
        given: Options of the command line.

    Raises:
        UserError: If the data are not one's own or cannot be read.
    """
    if kind not in OWN_DATA:
        raise UserError(
            f"recipe={name} is for images of your own (data={', '.join(OWN_DATA)}); data={kind} has settings of its own"
        )
    # Imported late: most commands have no recipe.
    from alasca_pl.runs.own_images import usual_size

    (height, width), in_files = usual_size(data)
    options = by_size["small" if max(height, width) <= SMALL else "large"]
    own = {option_name(item) for item in options}
    by_hand = {option_name(item) for item in given if item not in options} & own
    kept = [
        item
        for item in options
        if item not in given
        and not any(option_name(item) == one or option_name(item).startswith(f"{one}.") for one in by_hand)
        # Images in memory have the size that they have.
        and (in_files or option_name(item) != "data.image_size")
    ]
    return Recipe(kept, f"recipe {name} for images of {height} x {width}: {' '.join(kept) or 'all given by hand'}")
