"""`python -m glmkit.nano`: train glm-nano and write its checkpoint."""

import argparse
from pathlib import Path

from glmkit.nano.pipeline import make_nano
from glmkit.nano.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m glmkit.nano", description=__doc__)
    add_arguments(parser)
    run(parser.parse_args())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("checkpoints/glm-nano"), help="folder of the checkpoint")
    parser.add_argument("--tokens", type=int, default=Recipe.tokens, help="how many to train on")
    parser.add_argument("--seed", type=int, default=Recipe.seed)


def run(args: argparse.Namespace) -> None:
    make_nano(args.out, Recipe(tokens=args.tokens, seed=args.seed))


if __name__ == "__main__":
    main()
