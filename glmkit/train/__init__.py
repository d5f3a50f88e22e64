"""Training: pre-training and fine-tuning from plain functions that a researcher can call one by one.

`fit` is the whole way in one call; what it is made of stands beside it: `TokenDataset` and `batches`, `loss_sums`, the
optimisers, `train_step`, `Checkpoints`, the logs, and LoRA.
"""

from glmkit.train.balance import imbalance, move_biases
from glmkit.train.checkpoint import Checkpoints
from glmkit.train.data import Batch, DataReport, Source, TokenDataset, batches
from glmkit.train.evaluation import evaluate
from glmkit.train.examples import Example, encode_record
from glmkit.train.log import JsonLog, Log, TensorBoardLog
from glmkit.train.logged import LoggedRun, LoggedStep
from glmkit.train.loop import Fit, Step, fit
from glmkit.train.lora import LoRAParam, add_lora, merge_lora
from glmkit.train.loss import loss_sums
from glmkit.train.optimizer import (
    adamw,
    apply_optimizer,
    batch_warmup,
    cosine,
    make_optimizer,
    muon,
    with_master_weights,
)
from glmkit.train.settings import Settings
from glmkit.train.step import (
    FINE_TUNING,
    PRETRAINING,
    Change,
    Metrics,
    Objective,
    TrainState,
    compiled_step,
    train_step,
)

__all__ = [
    "FINE_TUNING",
    "PRETRAINING",
    "Batch",
    "Change",
    "Checkpoints",
    "DataReport",
    "Example",
    "Fit",
    "JsonLog",
    "LoRAParam",
    "Log",
    "LoggedRun",
    "LoggedStep",
    "Metrics",
    "Objective",
    "Settings",
    "Source",
    "Step",
    "TensorBoardLog",
    "TokenDataset",
    "TrainState",
    "adamw",
    "add_lora",
    "apply_optimizer",
    "batch_warmup",
    "batches",
    "compiled_step",
    "cosine",
    "encode_record",
    "evaluate",
    "fit",
    "imbalance",
    "loss_sums",
    "make_optimizer",
    "merge_lora",
    "move_biases",
    "muon",
    "train_step",
    "with_master_weights",
]
