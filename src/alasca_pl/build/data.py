"""From a resolved config to data."""

from alasca_pl.build.make import Config, make
from alasca_pl.data.datamodule import NoisyDataModule

# Values of the data config that are meant for its reader, wherever that has an argument of the name.
_FOR_READER = ("root", "path", "download", "extract_to")
# Values of the data config that other groups refer to.
_FOR_OTHERS = ("class_map", "class_groups")


def build_data(config: Config) -> NoisyDataModule:
    """Read the data, split it and draw the noise.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong or the data cannot be used.
    """
    data = {name: value for name, value in config["data"].items() if name not in (*_FOR_READER, *_FOR_OTHERS)}
    source = {name: config["data"][name] for name in _FOR_READER if name in config["data"]}
    reader = make({**data.pop("reader"), "_partial_": True}, **source)
    return make(data, reader=reader, noise=make(config["noise"]), seed=config["seed"])
