"""The gallery: READMEs of the experiments as they are."""

from pathlib import Path


def pages(root: Path) -> dict[str, str]:
    """A page for each experiment that has a README, and the list of them, which is a README itself."""
    names = sorted(path.parent.name for path in (root / "experiments").glob("*/README.md"))
    made = {f"experiments/{name}/README": _included(f"{name}/README.md", 5) for name in names}
    listed = "\n".join(f"{name}/README" for name in names)
    made["experiments/README"] = _included("README.md", 4) + f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    return made


def _included(name: str, depth: int) -> str:
    # The folders here are as those of the experiments, so that links from one README to another hold.
    return f"```{{include}} {'../' * (depth)}experiments/{name}\n:relative-images:\n```\n"
