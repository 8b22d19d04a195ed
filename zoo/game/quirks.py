"""Quirks of library versions, each with the version that it is for. Called where they matter, never on import."""

import os
import warnings


def quiet_about_averages() -> None:
    """Lightning 2.6 warns of modules in evaluation mode when training starts: an average's copy is meant to be."""
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training")


def no_search_for_a_driver() -> None:
    """Lightning 2.6 sets this variable on import. In the CUDA build of torch 2.11 to 2.15 each step of a fused Adam on
    the CPU then looks for a driver."""
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
