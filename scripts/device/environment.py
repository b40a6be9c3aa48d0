"""The GPU, its driver, and the packages that use it."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import distributions

import torch

from scripts.device.figures import Figures

_PACKAGES = ("cupy", "cutensor", "gpu4pyscf", "openmm", "torch")


def cuda_device() -> str | None:
    """Name of the first device, as torch sees it; None where it sees none."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def figures() -> Figures:
    """Device, driver, CUDA of torch, and versions."""
    found: Figures = {"device": cuda_device() or "none", "CUDA of torch": str(torch.version.cuda)}
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        found["driver, memory"] = told.splitlines()[0]
    versions = {own.metadata["Name"]: own.version for own in distributions()}
    return found | {
        name: versions[name] for name in sorted(versions) if name.lower().startswith(_PACKAGES)
    }
