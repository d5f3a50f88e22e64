"""`glmkit train`: fine-tune a checkpoint on conversations, or train it on, on text; or make glm-nano from nothing."""

import argparse
import sys
from pathlib import Path

from glmkit.errors import ConfigError

_SETTINGS = (
    *("length", "batch_size", "accumulate", "batch_warmup", "steps", "epochs", "remat"),
    *("optimizer", "learning_rate", "master_weights", "freeze", "shuffle", "workers", "seed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="how", metavar="HOW", required=True)
    for how, summary in (("sft", "fine-tuning"), ("pretrain", "training on with load balancing")):
        _add_run_arguments(kinds.add_parser(how, help=summary, description=f"{summary.capitalize()}."))
    summary = "the bundled model from nothing, by its recipe"
    _add_nano_arguments(kinds.add_parser("nano", help=summary, description=f"Make {summary}."))


def _add_nano_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("checkpoints/glm-nano"), help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, help="how many to train on (default: those of the bundled model)")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the weights (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=2, help="of a step, more for a GPU (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw examples (default: this one does)")


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="nano", help="a folder, a bundled name, or a Hub id (default: %(default)s)")
    parser.add_argument(
        "--from-scratch", action="store_true", help="take of MODEL the configuration and tokenizer alone"
    )
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"messages": ...} or {"text": ...}')
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; its model ends up in OUT/model")
    parser.add_argument("--eval", type=Path, help="JSONL whose loss is measured as the run goes")
    parser.add_argument("--lora", type=int, metavar="RANK", help="train an adapter, which ends up in OUT/adapter")
    parser.add_argument("--length", type=int, default=1024, help="tokens of a row (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a micro-batch (default: %(default)s)")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches of a step (default: %(default)s)")
    parser.add_argument(
        "--remat",
        choices=("none", "block"),
        default="none",
        help="block: more time, less memory (default: %(default)s)",
    )
    parser.add_argument("--batch-warmup", type=int, default=0, help="steps in which --accumulate grows from a quarter")
    parser.add_argument(
        "--no-shuffle", dest="shuffle", action="store_false", help="take the data in their own order, as a curriculum"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that read the data (default: this one does)")
    parser.add_argument("--steps", type=int, help="default: --epochs passes over the data")
    parser.add_argument("--epochs", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw", help="(default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="at its peak (default: %(default)s)")
    add_master_weights(parser)
    parser.add_argument("--freeze", nargs="*", default=(), metavar="PATTERN", help='such as "embed" or "blocks.0"')
    parser.add_argument("--seed", type=int, default=0, help="of the order of the data (default: %(default)s)")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="of the parameters while training")
    parser.add_argument("--save-every", type=int, default=100, help="steps (default: %(default)s)")


def add_master_weights(parser: argparse.ArgumentParser) -> None:
    """Whether float32 copies of narrower parameters are optimised, which they are unless this is given."""
    parser.add_argument(
        "--no-master-weights",
        dest="master_weights",
        action="store_false",
        help="optimise parameters in bfloat16 as they are, without float32 copies: less memory, small updates are lost",
    )


def run(args: argparse.Namespace) -> int:
    """Train; the same command goes on where it was stopped. Prints the folder of the result."""
    print(_run_nano(args) if args.how == "nano" else _run_given(args))
    return 0


def _run_nano(args: argparse.Namespace) -> Path:
    from glmkit.nano.pipeline import make_nano
    from glmkit.nano.recipe import Recipe

    given = {"seed": args.seed, "rows": args.rows, "workers": args.workers} | (
        {} if args.tokens is None else {"tokens": args.tokens}
    )
    make_nano(args.out, Recipe(**given))
    return args.out


def _run_given(args: argparse.Namespace) -> Path:
    """Train a model that is given, on data that are given."""
    from glmkit.loading import resolve_source
    from glmkit.text import Tokenizer
    from glmkit.train import FINE_TUNING, PRETRAINING, TokenDataset, fit

    if args.from_scratch and (args.how == "sft" or args.lora is not None):
        raise ConfigError("--from-scratch is for pretrain, and without --lora: there is nothing yet to adapt")
    result = args.out / ("model" if args.lora is None else "adapter")
    if result.exists():
        raise ConfigError(f"{result} exists: its run is finished; give another --out")
    folder = resolve_source(args.model)
    tokenizer = Tokenizer.from_folder(folder)  # what is wrong with the data is told before the weights are read
    data = TokenDataset.read(args.data, tokenizer, args.length, progress=True)
    print(data.report, file=sys.stderr)
    held_out = None if args.eval is None else TokenDataset.read(args.eval, tokenizer, args.length)
    if held_out is not None:
        print(f"{args.eval}: {held_out.report}", file=sys.stderr)
    training = fit(
        _given(args, folder),
        data,
        objective=FINE_TUNING if args.how == "sft" else PRETRAINING,
        out=args.out,
        eval_data=held_out,
        save_every=args.save_every,
        donate=True,
        **{name: getattr(args, name) for name in _SETTINGS},
    ).run()
    _write(args, training, folder, result)
    return result


def _given(args: argparse.Namespace, folder: Path):
    """The LM to train: as it is stored, with random weights, or with an adapter."""
    from flax import nnx

    from glmkit.lm import LM
    from glmkit.loading import load
    from glmkit.model import GLM
    from glmkit.model.defaults import default_dtype
    from glmkit.text import Tokenizer
    from glmkit.train import add_lora
    from glmkit.weights.hf import read_config

    if args.from_scratch:
        model = GLM(read_config(folder), rngs=nnx.Rngs(args.seed), dtype=args.dtype or default_dtype())
        return LM(model, Tokenizer.from_folder(folder), max_len=args.length, name=args.out.name)
    lm = load(args.model, dtype=args.dtype, max_len=args.length)
    if args.lora is None:
        return lm
    adapted = add_lora(lm.model, args.lora, 2.0 * args.lora, rngs=nnx.Rngs(args.seed))
    return lm.with_model(adapted, max_len=args.length, about=lm.about)


def _write(args: argparse.Namespace, training, folder: Path, result: Path) -> None:
    """The result, with a card that says where it came from."""
    from glmkit.loading import public_name
    from glmkit.weights import save_adapter
    from glmkit.weights.card import derived_card, licence_of

    base = None if args.from_scratch else public_name(args.model)
    facts = training.origin["facts"]
    facts |= {"data": f"{args.data.name}: {facts['data']}"}
    origin = {"base_model": base, "licence": licence_of(folder), "facts": facts}
    if args.lora is not None:
        save_adapter(training.model, result, **origin)
    else:
        about = f"Trained by `glmkit train {args.how}`."
        training.lm.save(result, card=derived_card(args.out.name, about, library="glmkit", **origin))
