"""What a device can do at most: the denominator of model FLOPs utilisation (MFU)."""

from __future__ import annotations

import torch

PEAKS = {
    "A100": 312e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989.5e12, "H200 NVL": 835.5e12,
    "H200": 989.5e12, "B200": 2250e12, "GB200": 2500e12, "MI300X": 1307.4e12, "MI325X": 1307.4e12, "MI250X": 191.5e12,
}  # fmt: skip
"""Dense bfloat16 operations per second by the makers' data sheets; of an MI250X one die, which is one device."""


def peak_flops(device: torch.device) -> float | None:
    """Of the device's variant, by its name; None where it is not known."""
    return peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def peak_of(name: str) -> float | None:
    """The longest name of `PEAKS` that stands in a device's name."""
    known = [variant for variant in PEAKS if all(word in name for word in variant.split())]
    return PEAKS[max(known, key=len)] if known else None


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that tensors took on the device so far; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
