"""Where there is an accelerator, what is tested there; elsewhere it is skipped, and says so."""

from __future__ import annotations

import pytest
import torch

ACCELERATORS = [
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here")
    ),
    pytest.param(
        "mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="PyTorch finds no Apple GPU here")
    ),
]
