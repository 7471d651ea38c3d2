"""Where each value of a config is from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import Composed, in_place

_WIDTH = 60


def explain(composed: Composed) -> str:
    """List each value of a config with the file or option that set it.

    Returns:
        A line for each value: name and value, and what set it. A value that follows from another one names it.
    """
    origin = origins(composed)
    lines = [*composed.remarks, *([""] if composed.remarks else [])]
    for name, raw in leaves(OmegaConf.to_container(composed.config, resolve=False)):
        try:
            value = "(must be given)" if raw == "???" else _plain(_at(composed.config, name))
        except OmegaConfBaseException as error:
            value = f"({str(error).splitlines()[0]})"
        shown = f"{'.'.join(map(str, name))}: {value}"
        follows = f", as {raw}" if isinstance(raw, str) and "${" in raw else ""
        lines.append(f"{shown:<{_WIDTH}}  {origin.get(name, 'unknown')}{follows}")
    return "\n".join(lines)


def origins(composed: Composed) -> dict[tuple[Any, ...], str]:
    """What set each value: a file, an entry of constants, or an option of the command line."""
    loader: Any = GlobalHydra.instance().config_loader()
    with in_place(composed.applied):
        defaults = loader.compute_defaults_list(composed.name, composed.overrides, RunMode.RUN)
    found: dict[tuple[Any, ...], str] = {}
    for default in defaults.defaults:
        if default.config_path is None or default.config_path.startswith("hydra/"):
            continue
        if default.config_path.startswith("applied_constants/"):
            for entry in composed.applied:
                _note(found, entry.values, f"constants {composed.choices['method']}/{entry.name}")
            continue
        loaded = loader.repository.load_config(default.config_path)
        if loaded is None:
            continue
        content: Any = OmegaConf.to_container(loaded.config, resolve=False)
        package = loaded.header.get("package") if default.package is None else default.package
        values: dict[str, Any] = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
        for word in reversed([word for word in (package or "").split(".") if word and word != "_global_"]):
            values = {word: values}
        _note(found, values, _file(loaded.path, default.config_path))
    for override in defaults.config_overrides:
        if not override.is_delete():
            value = override.value()
            for word in reversed(override.key_or_group.split(".")):
                value = {word: value}
            is_recipe = override.input_line in composed.recipe
            source = f"recipe {composed.choices['recipe']}:" if is_recipe else "option"
            _note(found, value, f"{source} {override.input_line}")
    return found


def leaves(value: Any, name: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Names and values of all that is not a mapping with entries."""
    if isinstance(value, Mapping) and (value or not name):
        for key, item in value.items():
            yield from leaves(item, (*name, key))
    else:
        yield name, value


def _note(found: dict[tuple[Any, ...], str], values: Mapping[str, Any], origin: str) -> None:
    for name, value in leaves(values):
        if value == {} and any(other[: len(name)] == name and other != name for other in found):
            # An empty mapping is merged and takes nothing away.
            continue
        for other in [other for other in found if other[: len(name)] == name or name[: len(other)] == other]:
            del found[other]
        found[name] = origin


def _file(folder: str, path: str) -> str:
    root = Path(folder.removeprefix("file://"))
    return f"{'conf' if root == CONF_DIR else root}/{path}.yaml"


def _at(config: DictConfig, name: tuple[Any, ...]) -> Any:
    node: Any = config
    for key in name:
        node = node[key]
    return node


def _plain(value: Any) -> str:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
