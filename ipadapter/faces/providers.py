"""What onnxruntime can run InsightFace on."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import IPAdapterError

AUTO_PROVIDER = "auto"
CPU_PROVIDER = "CPUExecutionProvider"
PROVIDERS: dict[str, tuple[str, ...]] = {  # onnxruntime's names, the newest last
    "CPU": (CPU_PROVIDER,),
    "CUDA": ("CUDAExecutionProvider",),
    "ROCM": ("ROCMExecutionProvider", "MIGraphXExecutionProvider"),
    "DirectML": ("DmlExecutionProvider",),
    "OpenVINO": ("OpenVINOExecutionProvider",),
    "CoreML": ("CoreMLExecutionProvider",),
}
BEST_FIRST = ("CUDA", "ROCM", "DirectML", "CoreML", "OpenVINO", "CPU")
CHOICES = (AUTO_PROVIDER, *PROVIDERS)


def execution_providers(choice: str, available: Sequence[str]) -> list[str]:
    """onnxruntime's providers for a choice, the CPU last. Raises IPAdapterError where it is not available."""
    wanted = BEST_FIRST if choice == AUTO_PROVIDER else (choice,)
    found = [name for one in wanted for name in PROVIDERS[one] if name in available]
    if not found:
        there = ", ".join(choice for choice, names in PROVIDERS.items() if set(names) & set(available))
        raise IPAdapterError(
            f"provider is {choice}, which the installed onnxruntime does not have (it has {there or 'none'}): choose "
            "auto, or install the onnxruntime made for it."
        )
    return list(dict.fromkeys([found[0], CPU_PROVIDER]))
