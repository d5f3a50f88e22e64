"""What a saved checkpoint carries beside weights and config: tokenizer, template, generation settings, model card."""

import json
from pathlib import Path

from glmkit.generation_config import GenerationConfig
from glmkit.model import GLM
from glmkit.text import GLM45_CHAT_TEMPLATE, Tokenizer


def bundle_files(model: GLM, tokenizer: Tokenizer, generation: GenerationConfig, name: str) -> dict[str, bytes]:
    """The files by name; a template or card that the tokenizer's folder had is kept."""
    files = dict(tokenizer.files)
    files.setdefault("chat_template.jinja", GLM45_CHAT_TEMPLATE.encode())
    files["generation_config.json"] = (json.dumps(generation.to_hf(), indent=2) + "\n").encode()
    files.setdefault("README.md", _card(model, name).encode())
    return files


def _card(model: GLM, name: str) -> str:
    config = model.config
    return (
        "---\nlibrary_name: glmkit\n---\n"
        f"# {Path(name).name}\n\n"
        f"A GLM-4.5-shaped mixture of experts in the released layout: {config.num_hidden_layers} layers, "
        f"{config.n_routed_experts} routed experts with {config.num_experts_per_tok} active, "
        f"{model.num_parameters:,} parameters. "
        f"Written by glmkit from `{name}`; its licence is that of the weights it came from.\n"
    )
