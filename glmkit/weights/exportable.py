"""What may be written as a checkpoint of its own: a whole model, without an adapter beside its weights."""

from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.model.adapter import adapted_places


def require_exportable(model: GLM) -> None:
    """Raise `CheckpointError` for a model without some of its layers, or with a LoRA adapter."""
    if model.truncated:
        raise CheckpointError(
            f"this model holds only layers {list(model.layer_numbers)} of {model.config.num_hidden_layers}; "
            "it is for study and cannot be exported: load it without layers="
        )
    if adapted := adapted_places(model):
        raise CheckpointError(
            f"this model has a LoRA adapter (on {len(adapted)} parameters, the first {adapted[0].base.hf.name}), which "
            "this format cannot hold: glmkit.train.lora.merge_lora(model) first, or write the adapter alone with "
            "glmkit.weights.save_adapter"
        )
