"""Options in Hydra's grammar: their names, and texts written such that Hydra takes them as they are."""

import re
from collections.abc import Iterable

# Options that concern a sweep, not one of its jobs.
_OF_A_SWEEP = (
    "hydra.mode",
    "hydra.sweep",
    "hydra/launcher",
    "hydra.launcher",
    "hydra/sweeper",
    "hydra.sweeper",
    "hydra.run",
)


def option_name(override: str) -> str:
    """Name of the option that an override sets.

    Example:
        >>> option_name("+trainer.max_time=1")
        'trainer.max_time'
    """
    return override.split("=", 1)[0].lstrip("+~")


def one_choice(name: str, value: str) -> str:
    """An option with a choice of one value, which Hydra leaves to the jobs of a sweep."""
    return f"{name}=choice({value})"


def as_typed(override: str) -> str:
    """Undo ``one_choice``; other overrides are left as they are.

    Example:
        >>> as_typed(one_choice("criterion.matrix", "oracle")), as_typed("seed=choice(0,1)")
        ('criterion.matrix=oracle', 'seed=choice(0,1)')
    """
    name, opening, value = override.partition("=choice(")
    inner = value[:-1]
    plain = opening and value.endswith(")") and ("," not in inner or inner[0] + inner[-1] in ("[]", "{}"))
    return f"{name}={inner}" if plain else override


def passed_on(overrides: Iterable[str]) -> list[str]:
    """Overrides of a sweep that its jobs get, too.

    Example:
        >>> passed_on(["hydra.sweep.dir=x", "hydra/job_logging=none", "hydra.launcher.jobs=2"])
        ['hydra/job_logging=none']
    """
    return [item for item in overrides if not option_name(item).startswith(_OF_A_SWEEP)]


def in_quotes(value: str) -> str:
    r"""Put quotes around a text, in which ``${`` stays an interpolation.

    Example:
        >>> print(in_quotes("it's"))
        'it\'s'
    """
    # Backslashes are taken as they are unless a quote follows.
    escaped = re.sub(r"(\\*)'", lambda match: match.group(1) * 2 + r"\'", value)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", escaped) + "'"


def quoted(value: str) -> str:
    r"""Write a text such that Hydra takes it as it is, also with quotes, backslashes and ``${`` in it.

    Example:
        >>> print(quoted("${a}"))
        '\${a}'
    """
    return in_quotes(re.sub(r"(\\*)\$\{", lambda match: match.group(1) * 2 + r"\${", value))
