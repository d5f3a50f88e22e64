"""What a checkpoint carries beside weights and config: tokenizer, template, generation settings, card, licence."""

import json
from collections.abc import Mapping
from pathlib import Path

from glmkit.checks import file_exists
from glmkit.generation_config import GenerationConfig
from glmkit.model import GLM
from glmkit.text import GLM45_CHAT_TEMPLATE, Tokenizer
from glmkit.text.tokenizer import FILES as TOKENIZER_FILES

ABOUT = ("README.md", "LICENSE")
# What may lie beside weights and configuration, and is taken along byte for byte.
COMPANIONS = (*TOKENIZER_FILES, "generation_config.json", *ABOUT)


def companions(folder: Path, names: tuple[str, ...] = COMPANIONS) -> dict[str, bytes]:
    """The files of a checkpoint that go along with its weights."""
    paths = [folder / name for name in names]
    return {path.name: path.read_bytes() for path in paths if file_exists(path) and path.is_file()}


def bundle_files(
    model: GLM, tokenizer: Tokenizer, generation: GenerationConfig, name: str, about: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files by name: a template that the tokenizer came with and a card `about` the model are kept, else made."""
    files = {**tokenizer.files, **about}
    files.setdefault("chat_template.jinja", GLM45_CHAT_TEMPLATE.encode())
    files["generation_config.json"] = (json.dumps(generation.to_hf(), indent=2) + "\n").encode()
    files.setdefault("README.md", plain_card(model, name))
    return files


def plain_card(model: GLM, name: str) -> bytes:
    """The card of weights that came without one, from the model of that name."""
    config = model.config
    card = (
        "---\nlibrary_name: glmkit\n---\n"
        f"# {Path(name).name}\n\n"
        f"A GLM-4.5-shaped mixture of experts in the released layout: {config.num_hidden_layers} layers, "
        f"{config.n_routed_experts} routed experts with {config.num_experts_per_tok} active, "
        f"{model.num_parameters:,} parameters. "
        f"Written by glmkit from `{name}`; its licence is that of the weights it came from.\n"
    )
    return card.encode()
