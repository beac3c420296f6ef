"""Class names, tags and names of layers from strangers: text, wherever they come out, and nothing more."""

import io
import os
import sys

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    Probe,
    SaliencyLogger,
)
from lightning_viz.runtime.writer import LONGEST_TAG, clean_tag

from ..browser import chromium, tensorboard
from ..sinks.projector_backend import ProjectorBackend
from ..sinks.test_projector_page import choose
from ..support import Events, Lit, loader, quick_suite, trainer

SCRIPT = "<script>__ran = 1</script>"
IMAGE = "<img src=x onerror='__ran = 2'>"

NAMES = [
    SCRIPT,
    IMAGE,
    '"><svg onload="__ran = 3">',
    "javascript:__ran=4",
    "{{constructor.constructor('__ran = 5')()}}",
    "../../escape",
    "/etc/passwd",
    "..",
    "C:\\windows\\system32",
    "nul\0within",
    "line\nbreak\r\nand more\u2028still",
    "tab\tbetween",
    "long " * 2000,
    "long " * 2000 + "er",
    "turned \u202e around",
    "turned around",
    "עברית and العربية",
    "\ud800 alone",
    "🐱 猫 👩‍👩‍👧",
    "",
    " ",
    "a & b = c # d + e % f ; g : h ? i",
    "\x1b[2J\x07",
]
TAGS = [name for name in NAMES if name.strip("./ ")]
LAYERS = ["<b onclick='__ran=6'>bold</b>", "with space / and slash", "\x1b[2J\0", "x" * 5000, SCRIPT]


class Named(TensorDataset):
    """A folder of pictures whose folders' names are strange."""

    def __init__(self, classes):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(2 * len(classes)) % len(classes)
        super().__init__(torch.rand(len(labels), 3, 12, 12, generator=generator), labels)
        self.classes = classes


def network(names, classes):
    """Convolutions of these names."""
    torch.manual_seed(0)
    made = nn.Sequential()
    for index, name in enumerate(names):
        made.add_module(name, nn.Conv2d(3 if index == 0 else 4, 4, 3, padding=1))
        made.add_module(f"relu{index}", nn.ReLU())
    for name, layer in (("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("head", nn.Linear(4, classes))):
        made.add_module(name, layer)
    return made


def draw(folder, classes, layers, tags):
    """The whole suite, each on the layers that it takes, and a callback for each tag, once."""
    module, data = Lit(network(layers, len(classes))), Named(classes)
    of = [f"network.{name}" for name in layers]
    options = {"log_at_start": False, "on_error": "raise"}
    callbacks = quick_suite(**options)
    callbacks += [
        FilterLogger(of, **options, tag="each"),
        GradCAMLogger(of, **options),
        ActivationLogger(of, **options),
    ]
    callbacks += [EmbeddingProjectorLogger(of, per_class=True, **options, tag=tags[0])]
    callbacks += [ClassSynthesisLogger([*range(len(classes))], steps=1, per_class=True, **options, tag="painted")]
    images, labels = data.tensors
    probe = Probe(images[: len(classes)], labels[: len(classes)], classes)
    callbacks += [SaliencyLogger(tag="own probe", probe=probe, max_images=99, **options)]
    callbacks += [FilterLogger(tag=tag, history=0, **options) for tag in tags]
    trainer(folder, callbacks, max_epochs=1).fit(module, loader(data, batch_size=16), loader(data, batch_size=16))
    return Events(folder / "run/version_0")


touched = None


def watch(event, arguments):
    if touched is None:
        return
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        touched.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "shutil.rmtree"):
        touched.extend(os.fsdecode(one) for one in arguments if isinstance(one, str | bytes | os.PathLike))
    elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        touched.append(f"{event} {arguments}")


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """The folder of a run with strange names, its events, and all files and addresses that were touched."""
    global touched
    folder = tmp_path_factory.mktemp("strange")
    sys.addaudithook(watch)  # it stays for good
    touched = []
    events = draw(folder, NAMES, LAYERS, TAGS)
    found, touched = touched, None
    return folder, events, found


def test_files_stay_inside_the_loggers_folder(strange):
    folder, _, found = strange
    inside = str(folder / "run")
    assert [path for path in found if path and not os.path.abspath(path).startswith((inside, "/dev/null"))] == []
    assert len(found) > 20
    assert [path.name for path in folder.iterdir()] == ["run"]
    assert {path.name for path in (folder / "run").iterdir()} == {"version_0"}


def test_tags_are_text_on_one_line_bounded_and_distinct(strange):
    _, events, _ = strange
    for tag in [*events.image_tags, *events.scalar_tags]:
        assert tag.isprintable()
        assert len(tag) <= LONGEST_TAG + len("/history")
    first = f"network.{LAYERS[0]}"
    expected = {clean_tag(tag if "/" in tag.strip("/") else f"{tag}/{first}") for tag in TAGS}
    assert len(expected) == len(TAGS)
    assert expected <= {*events.image_tags}
    of_classes = [tag for tag in events.scalar_tags if tag.startswith("painted/classes/probability/")]
    assert len(of_classes) == len(NAMES)
    assert len([tag for tag in events.image_tags if tag.startswith("gradcam/network.")]) >= 2 * len(LAYERS)


@pytest.mark.parametrize("text", NAMES)
def test_a_tag_stays_as_it_is_if_it_can(text):
    tag = clean_tag(text)
    assert (tag == text) == (text == " ".join(text.split()) and text.isprintable() and len(text) <= LONGEST_TAG)
    assert tag.isprintable()
    assert len(tag.encode()) <= 4 * LONGEST_TAG


def test_pictures_are_as_large_as_with_plain_names(strange, tmp_path):
    folder, events, _ = strange
    plain = draw(tmp_path, [f"c{index}" for index in range(len(NAMES))], [f"l{index}" for index in range(5)], ["tag"])
    for tag in (
        "saliency/gradient",
        "own probe/gradient",
        "embedding/network.head/pca",
        "painted/classes",
        "deepdream",
    ):
        (one,), (other,) = (
            {Image.open(io.BytesIO(each.pictures(name)[0])).size for name in each.image_tags if name.startswith(tag)
             and not name.endswith("/history")} for each in (events, plain)
        )  # fmt: skip
        assert one[1] == other[1], tag
        assert other[0] <= one[0] <= other[0] + (200 if "pca" in tag else 0), tag  # a legend is as wide as its words
    assert ProjectorBackend(folder / "run/version_0").runs


# In the browser.

TEXTS = """() => {
    const texts = [];
    const walk = root => { for (const element of root.querySelectorAll("*")) {
        if (element.shadowRoot) walk(element.shadowRoot);
        if (element.localName === "script" || element.localName === "style") continue;
        for (const node of element.childNodes) if (node.nodeType === 3) texts.push(node.data);
        texts.push(element.getAttribute("title") ?? "", element.value ?? "");
    } };
    walk(document);
    return texts.join("\\n");
}"""


def texts(page):
    return "\n".join(frame.evaluate(TEXTS) for frame in page.frames)


def shows(page, *words):
    for _ in range(100):
        found = texts(page)
        if all(word in found for word in words):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"{[word for word in words if word not in found]} is not among {found[-3000:]}")


def test_tensorboards_pages_show_text_and_run_nothing(strange):
    folder, _, _ = strange
    with tensorboard(folder) as address, chromium(height=1000) as page:
        requests, dialogs = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        group = SCRIPT.partition("/")[0]  # TensorBoard groups tags by what is before their first slash
        pages = {"images": [group, IMAGE], "scalars": [group], "timeseries": [group, IMAGE], "projector": ["step 0000"]}
        for number, (plugin, words) in enumerate(pages.items()):
            page.goto(f"{address}/?turn={number}#{plugin}", timeout=60_000)
            shows(page, *words)
            if plugin == "projector":
                choose(page.frame(url="**/projector_binary.html"), "No color map", "class")
                shows(page, SCRIPT, IMAGE)  # in the legend
            for frame in page.frames:
                assert frame.evaluate("window.__ran") is None, plugin
        assert not dialogs
        assert {url for url in requests if not url.startswith(("data:", "blob:", address))} == set()
