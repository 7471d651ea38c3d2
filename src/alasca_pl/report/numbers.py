"""Numbers as a report prints them."""

from alasca_pl.report.grid import Label
from alasca_pl.report.keys import text_of
from alasca_pl.report.question import Question


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "run"), counted(2, "run")
        ('1 run', '2 runs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def texts(label: Label) -> list[str]:
    """One text for each value of a label."""
    return [text_of(value) for value in label]


def full(value: float | None) -> str:
    """All digits, for files that programs read."""
    return "" if value is None else repr(value)


def mean_std(mean: float, std: float | None, n: int, question: Question) -> str:
    """Mean ± standard deviation (number of runs)."""
    return f"{number(mean, question)}{'' if std is None else f' ± {number(std, question)}'} ({n})"


def number(value: float, question: Question) -> str:
    """A figure with the digits of its metric."""
    return f"{value:.2f}" if question.is_percent else f"{value:.4g}"


def signed(value: float | None, question: Question | None = None) -> str:
    """A difference with its sign."""
    if value is None:
        return "–"
    text = f"{value:+.2f}" if question is None or question.is_percent else f"{value:+.4g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def p_text(value: float | None) -> str:
    """A p-value.

    Example:
        >>> p_text(0.0123), p_text(1e-9), p_text(None)
        ('.0123', '< .0001', '–')
    """
    if value is None:
        return "–"
    text = f"{value:.4f}"
    return "< .0001" if text == "0.0000" else "1" if text == "1.0000" else text[1:]
