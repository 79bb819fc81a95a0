"""The DCGAN of examples/dcgan.py on more data, with checkpoints, quality figures and animations.

    python examples/dcgan_study.py                    5,000 digits that come with minidl: a few minutes
    python examples/dcgan_study.py --data fashion     60,000 pieces of clothing
    python examples/dcgan_study.py --data folder:PATH any pictures, in colour, 64x64: hours
    python examples/dcgan_study.py --resume           continues where the last run was stopped (Ctrl-C)
    python examples/dcgan_study.py --wgan-gp          a critic with gradient penalty instead
    python examples/dcgan_study.py --quick            a short run, to see that it works

After each epoch a page of samples is drawn from the same noise. At the end it draws animations, curves
and the nearest training images, and measures the quality of the samples; all goes to out/dcgan/. The
networks and one step of their training are in examples/dcgan.py; the Wasserstein loss is in
examples/gan/game.py.
"""

import argparse
from pathlib import Path

from gan import results
from gan.game import Game, WassersteinGame
from gan.images import DATA, FOLDER
from gan.run import Run


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=source, default="digits", help=f"{', '.join(DATA)}, or {FOLDER}PATH")
    add("--epochs", type=positive, help="40 for digits, mnist 10, fashion 15, folders 5 to 200")
    add("--images", type=positive, metavar="N", help="train on the first N images; default all")
    add("--batch-size", type=positive, default=64)
    add("--nz", type=positive, help="numbers of noise that an image is made from; 64, folders 100")
    add("--ngf", type=positive, help="width of both networks; 32, folders 64")
    add(
        "--wgan-gp",
        action="store_true",
        help="Wasserstein loss with gradient penalty; G steps once in 5: give it more --epochs",
    )
    add("--seed", type=int, default=0)
    add("--resume", action="store_true", help="continue from the checkpoint in the folder")
    add("--quick", action="store_true", help="640 images, 2 epochs, narrow networks")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="all goes to FOLDER/dcgan")
    add("--no-plots", action="store_true", help="draw no pictures")
    args = parser.parse_args(argv)
    args.channels, args.size = (1, 32) if args.data in DATA else (3, 64)
    nz, ngf = (64, 32) if args.data in DATA else (100, 64)
    args.nz, args.ngf = args.nz or nz, args.ngf or ngf
    if args.quick:
        args.images, args.ngf = args.images or 640, min(args.ngf, 8)
        args.epochs = args.epochs or 2
    return args


def source(text: str) -> str:
    if text not in DATA and not text.startswith(FOLDER):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(DATA)}, {FOLDER}PATH")
    if text == FOLDER:
        raise argparse.ArgumentTypeError(f"the path is missing: {FOLDER}PATH")
    return text


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def game(args: argparse.Namespace) -> Game:
    kind = WassersteinGame if args.wgan_gp else Game
    return kind(args.nz, args.ngf, args.channels, args.size, args.seed)


def main(argv: list[str] | None = None) -> int:
    """Trains as the arguments say, and shows the results; returns 130 if it was interrupted."""
    args = arguments(argv)
    try:
        run = Run(args, game)
        sizes = [net.num_parameters() for net in (run.gan.G, run.gan.D)]
        print(
            f"{args.data}: {len(run.images):,} images; G has {sizes[0]:,} parameters, "
            f"D {sizes[1]:,}; seed {args.seed}"
        )
        if args.resume:
            print(f"continuing after epoch {run.epoch}, batch {run.batches}")
        elif run.checkpoint.is_file():
            print(f"starting from scratch; {run.checkpoint} will be replaced")
        if not run.train():
            return 130
        results.finish(run)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
