"""The attribution methods next to the minimum number of passes that they need, and next to other libraries.

    python -m benchmarks.methods [--device cuda]

ResNet-18, 16 images of 224 pixels; two images for SmoothGrad and occlusion, which need many passes, in batches of 16.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.timing import Times, by_turns
from lightning_viz.methods import grad_cam, occlusion, saliency, smoothgrad

SAMPLES, WINDOW = 32, 32


def passes(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    """A forward pass, and the gradient of the scores with respect to the images."""
    images = images.clone().requires_grad_()
    scores = network(images).gather(1, targets[:, None]).sum()
    torch.autograd.grad(scores, images)


def passes_to(layer: str, network: nn.Module, images: Tensor, targets: Tensor) -> None:
    """A forward pass, and the gradient with respect to a layer."""
    kept = []
    hook = network.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    scores = network(images).gather(1, targets[:, None]).sum()
    hook.remove()
    torch.autograd.grad(scores, kept)


def for_saliency(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Callable[[], object]]:
    from captum.attr import Saliency

    return {
        "minimum: forward and backward pass": lambda: passes(network, images, targets),
        "`saliency`": lambda: saliency(network, images, targets),
        "captum": lambda: Saliency(network).attribute(images.clone().requires_grad_(), targets),
    }


def for_grad_cam(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Callable[[], object]]:
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCAM

    classes = [ClassifierOutputTarget(one) for one in targets.tolist()]

    def with_grad_cam() -> None:
        with GradCAM(network, [network.layer4]) as cam:
            cam(images, classes)

    def with_torchcam() -> None:
        with TorchCAM(network, "layer4") as extractor:
            extractor(targets.tolist(), network(images.clone().requires_grad_()))

    return {
        "minimum: forward pass, and backward pass to the layer": lambda: passes_to("layer4", network, images, targets),
        "`grad_cam`": lambda: grad_cam(network, images, targets, layer="layer4"),
        "captum": lambda: LayerGradCam(network, network.layer4).attribute(images, targets),
        "pytorch-grad-cam": with_grad_cam,
        "torchcam": with_torchcam,
    }


def for_smoothgrad(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Callable[[], object]]:
    from captum.attr import NoiseTunnel, Saliency

    copies = images.repeat(8, 1, 1, 1)
    many = targets.repeat(8)

    def with_captum(at_once: int | None) -> None:
        NoiseTunnel(Saliency(network)).attribute(
            images, nt_type="smoothgrad", nt_samples=SAMPLES, nt_samples_batch_size=at_once, stdevs=0.15,
            target=targets, abs=False,
        )  # fmt: skip

    return {
        f"minimum: {SAMPLES} forward and backward passes in batches of 16": lambda: [
            passes(network, copies, many) for _ in range(SAMPLES // 8)
        ],
        "`smoothgrad`": lambda: smoothgrad(network, images, targets, samples=SAMPLES),
        "captum": lambda: with_captum(None),
        "captum, samples per pass: 8": lambda: with_captum(8),
    }


def for_occlusion(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Callable[[], object]]:
    from captum.attr import Occlusion

    batches = torch.split(images.repeat((224 // WINDOW) ** 2, 1, 1, 1), 16)

    def floor() -> None:
        with torch.no_grad():
            network(images)
            for batch in batches:
                network(batch)

    def with_captum(at_once: int) -> None:
        window = (3, WINDOW, WINDOW)
        with torch.no_grad():
            Occlusion(network).attribute(
                images, window, window, baselines=0, target=targets, perturbations_per_eval=at_once
            )

    return {
        "minimum: 50 forward passes in batches of 16": floor,
        "`occlusion`": lambda: occlusion(network, images, targets, window=WINDOW, stride=WINDOW, fill=0.0),
        **{f"captum, windows per pass: {count}": lambda count=count: with_captum(count) for count in (1, 8, 16)},
    }


def rows(times: dict[str, Times]) -> list[str]:
    """The rows of a table: name, milliseconds, ratio to the minimum with quartiles, ratio to ours, and on a GPU the memory."""
    (_, floor), (_, ours), *_ = times.items()
    found = []
    for name, one in times.items():
        first, third = one.over(floor).spread
        against = "" if one in (floor, ours) else f"{one.over(ours).median:.2f}"
        found.append(
            f"| {name} | {1000 * one.median:.0f} | {one.over(floor).median:.2f} | {first:.2f} to {third:.2f} | {against} |"
            + ("" if one.mebibytes is None else f" {one.mebibytes:.0f} |")
        )
    return found


METHODS = {
    "Gradient saliency, 16 images": (for_saliency, 16, 7),
    "Grad-CAM, 16 images": (for_grad_cam, 16, 7),
    f"SmoothGrad, {SAMPLES} samples of 2 images": (for_smoothgrad, 2, 4),
    "Occlusion, 49 positions of 2 images": (for_occlusion, 2, 6),
}


def tables(device: str) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval().to(device)
    for title, (make, count, rounds) in METHODS.items():
        images = torch.randn(count, 3, 224, 224, device=device)
        runs = make(network, images, torch.arange(count, device=device))
        yield from [
            f"| {title} | ms | ratio to the minimum | quartiles | ratio to ours |"
            + (" MiB |" if device == "cuda" else ""),
            "| --- | ---: | ---: | ---: | ---: |" + (" ---: |" if device == "cuda" else ""),
        ]
        yield from [*rows(by_turns(runs, rounds, device)), ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    warnings.filterwarnings("ignore")
    for line in tables(parser.parse_args().device):
        print(line, flush=True)
