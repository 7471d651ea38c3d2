"""Constants of a method that depend on the data set and on the kind and rate of the noise: which of them apply."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hydra

from alasca_pl.core.errors import UserError

_KEYS = ("data", "scale", "noise", "set", "by_rate")


class Noise(NamedTuple):
    """What is known of the noise before any label is drawn.

    Attributes:
        kind: Kind recorded with the labels, or None if it cannot be known yet.
        rate: Nominal rate, or None.
    """

    kind: str | None
    rate: float | None


class Applied(NamedTuple):
    """One entry of ``constants`` that applies.

    Attributes:
        name: Name of the entry.
        values: Values that it sets, nested as in the config.
        rate: The stated rate whose values apply, or None if the entry has none by rate or the rate is unknown.
        stated: All rates that the entry states.
    """

    name: str
    values: dict[str, Any]
    rate: float | None
    stated: tuple[float, ...]


def noise_of(node: Mapping[str, Any] | None) -> Noise:
    """Kind and nominal rate of the noise that a resolved node ``noise`` asks for; needs no data and no torch."""
    try:
        target = hydra.utils.get_object((node or {})["_target_"])
        return Noise(*target.kind_and_rate(node))
    except (KeyError, ImportError, AttributeError, ValueError, TypeError):
        # The node is incomplete or its file cannot be read. The run itself says so, with a better message.
        return Noise(None, None)


def select(entries: Mapping[str, Any], data: str | None, noise: Noise, scale: str | None = None) -> list[Applied]:
    """Entries of ``constants`` that apply to a data set and noise, in their order; later ones overrule earlier ones.

    Args:
        entries: Name to a mapping with ``data`` (name of a data set, or a list of names), ``scale`` (chosen scale of the
            experiment), ``noise`` (kind of noise, or a list), ``set`` (values) and ``by_rate`` (rate to values). An entry
            needs ``data`` or ``scale``; what it does not have does not restrict it. Of the rates the nearest one applies, of
            two equally near ones the lower.
        data: Name of the data set, the config's ``data.name``.
        noise: The noise.
        scale: Chosen option of group ``scale``.

    Raises:
        UserError: If an entry is not of this form.
    """
    applied = []
    known = {"data": data, "scale": scale, "noise": noise.kind}
    for name, entry in entries.items():
        if entry is None:
            continue
        _check(name, entry)
        if any(value not in _listed(entry[key]) for key, value in known.items() if key in entry):
            continue
        values, by_rate = entry.get("set") or {}, entry.get("by_rate") or {}
        rate = None
        if by_rate and noise.rate is not None:
            nominal = noise.rate
            # Rounded, so that 0.35 is as near to 0.2 as to 0.5.
            rate = min(sorted(by_rate), key=lambda stated: round(abs(stated - nominal), 9))
            values = _merged(values, by_rate[rate])
        applied.append(Applied(name, values, rate, tuple(sorted(by_rate))))
    return applied


def merged_values(applied: Sequence[Applied]) -> dict[str, Any]:
    """All values that apply."""
    values: dict[str, Any] = {}
    for entry in applied:
        values = _merged(values, entry.values)
    return values


def remarks(
    method: str, entries: Mapping[str, Any], applied: Sequence[Applied], data: str | None, noise: Noise
) -> list[str]:
    """Say which constants apply, and which exist for other data or noise only; nothing for a method without any."""
    entries = {name: entry for name, entry in entries.items() if entry is not None}
    if not entries:
        return []
    said = []
    for entry in applied:
        text = f"constants: {method}/{entry.name}"
        if entry.stated and entry.rate is None:
            text += f" without those by noise rate ({_rates(entry.stated)}), because the rate of these labels is not recorded"
        elif entry.rate is not None and entry.rate != noise.rate:
            text += f" with the values of rate {entry.rate:g}, the nearest to {noise.rate:g} of {_rates(entry.stated)}"
        elif entry.rate is not None:
            text += f" at rate {entry.rate:g}"
        said.append(text)
    kind = noise.kind or "unknown"
    here = {name: entry for name, entry in entries.items() if data in _listed(entry.get("data", []))}
    if not here and any("data" in entry for entry in entries.values()):
        said.append(f"constants: none of method {method} for data {data}, so its own defaults")
    kinds = [kind for entry in here.values() for kind in _listed(entry.get("noise", []))]
    if kinds and noise.kind not in kinds:
        why = ", because the file does not record how its labels were made" if kind == "from_file" else ""
        said.append(
            f"constants: none of method {method} on {data} for noise of kind {kind}{why}; there are some for "
            f"{', '.join(dict.fromkeys(kinds))}"
        )
    return said


def _rates(stated: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in stated)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for name, value in other.items():
        before = result.get(name)
        result[name] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return result


def _check(name: str, entry: Any) -> None:
    unknown = [key for key in entry if key not in _KEYS] if isinstance(entry, Mapping) else [entry]
    if unknown or not {"data", "scale"} & entry.keys():
        raise UserError(
            f"constants.{name} must be a mapping with data or scale and, if wanted, {', '.join(_KEYS[2:])}; "
            + (f"got {unknown[0]!r}" if unknown else "data and scale are missing")
        )
    for key in ("set", "by_rate"):
        value = entry.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise UserError(f"constants.{name}.{key} must be a mapping, got {value!r}")
    for rate, values in (entry.get("by_rate") or {}).items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not isinstance(values, Mapping):
            raise UserError(f"constants.{name}.by_rate must map rates to mappings of values, got {rate!r}: {values!r}")
