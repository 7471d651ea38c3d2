"""The precision of training, by what the processor computes itself."""

import platform
from pathlib import Path

import torch

from alasca_pl.build.make import Config

_BF16 = ("bf16-mixed", "bf16-true", "bf16")
_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def resolve_precision(trainer: Config, before: str | None = None) -> tuple[str, str | None]:
    """Choose the precision where ``trainer.precision`` is ``auto``.

    Args:
        trainer: Node ``trainer`` of a resolved config.
        before: The precision that a resumed run started with, which it keeps on any machine.

    Returns:
        The precision for Lightning, and what the log should say of it.
    """
    asked = str(trainer["precision"])
    native = computes_bf16(on_gpu=_uses_gpu(trainer))
    if asked == "auto":
        taken = before or ("bf16-mixed" if native else "32-true")
        remark = f"precision: {taken} " + ("(as the run started)" if before else "(trainer.precision=auto)")
    else:
        taken, remark = asked, None
    if taken in _BF16 and not native:
        remark = (
            f"precision: {taken}, which this processor only emulates; a step may take 15 times as long as with "
            "trainer.precision=32-true"
        )
    return taken, remark


def computes_bf16(on_gpu: bool) -> bool:
    """Whether the GPU, or else the processor, has instructions for bfloat16."""
    if on_gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return any(bool(found.get(name)) for name in (*_FLAGS, "arm_bf16"))
    return _says_bf16(Path("/proc/cpuinfo"))


def _says_bf16(cpuinfo: Path) -> bool:
    if platform.system() != "Linux" or not cpuinfo.is_file():
        return False
    lines = [line for line in cpuinfo.read_text().splitlines() if line.lower().startswith(("flags", "features"))]
    return any(name in line.partition(":")[2].split() for line in lines[:1] for name in _FLAGS)


def _uses_gpu(trainer: Config) -> bool:
    return trainer.get("accelerator") in ("gpu", "cuda", "auto") and torch.cuda.is_available()
