"""The Projector's page in a browser while snapshots are written."""

import io

import numpy as np
from PIL import Image

from lightning_viz.sinks.projector_sink import ProjectorSink
from lightning_viz.sinks.snapshot import Snapshot

from ..browser import chromium, tensorboard

NAME = "network.fc & <more>"
CLASSES = ["cat", "<img src=x onerror=alert(1)>", "tab\tand\nline", "日本語"]
SHOWN = ["cat", "<img src=x onerror=alert(1)>", "tab and line", "日本語"]
COLOUR = np.array([[220, 20, 60], [20, 160, 60], [30, 60, 200], [230, 200, 20]], np.uint8)
GREY = np.array([30, 80, 130, 180], np.uint8)[:, None].repeat(3, axis=1)

POINTS = """number => {
    const find = root => { for (const element of root.querySelectorAll("*")) {
        if (element.localName === "vz-projector") return element;
        const found = element.shadowRoot && find(element.shadowRoot);
        if (found) return found;
    } };
    const data = find(document)?.dataSet;
    const {spriteImage, spriteMetadata} = data?.spriteAndMetadataInfo ?? {};
    return spriteImage && data.points[0].vector[1] === number && {
        classes: data.points.map(point => point.metadata.class),
        sprite: [spriteImage.naturalWidth, spriteImage.naturalHeight, ...spriteMetadata.singleImageDim]};
}"""


def snapshot(step, colours):
    """Forty points in four clusters, one per class."""
    labels = np.arange(40) % 4
    points = (
        np.random.default_rng(step).standard_normal((40, 16), np.float32) + 20 * np.eye(4, 16, dtype=np.float32)[labels]
    )
    thumbnails = np.broadcast_to(colours[labels][:, None, None], (40, 24, 16, 3))
    metadata = {"class": [CLASSES[label] for label in labels], "index": [str(index) for index in range(40)]}
    return Snapshot(step, {NAME: points}, metadata, thumbnails)


def points_of(page, snapshot):
    """The Projector's frame, once it shows this snapshot, and the metadata and sprite size in it."""
    for _ in range(1200):
        if frame := page.frame(url="**/projector_binary.html"):
            break
        page.wait_for_timeout(50)
    number = float(snapshot.embeddings[NAME][0, 1])
    return frame, frame.wait_for_function(POINTS, arg=number, timeout=60_000).json_value()


def choose(frame, menu, entry):
    """The texts of a drop-down menu's entries; clicks on the one that has this text."""
    menu = frame.locator("paper-dropdown-menu", has=frame.locator("paper-item", has_text=menu)).first
    menu.click()
    menu.locator("paper-item", has_text=entry).click()
    return [" ".join(text.split()) for text in menu.locator("paper-item").all_text_contents()]


def wait_for_thumbnails(page, frame, colours):
    """Return when each colour has been visible in the rotating plot."""
    most = np.zeros(len(colours))
    for _ in range(300):
        picture = np.asarray(Image.open(io.BytesIO(frame.locator("#scatter").screenshot())).convert("RGB"))
        pixels = [(np.abs(picture.astype(int) - colour).max(axis=2) <= 3).sum() for colour in colours]
        most = np.maximum(most, pixels)
        if most.min() > 100:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"pixels of each colour: {most}")


def test_a_snapshot_is_shown_and_the_next_one_without_a_restart(tmp_path):
    """The first one has thumbnails in colour, the second one in grey."""
    first, second = snapshot(3, COLOUR), snapshot(12, GREY)
    sink = ProjectorSink(tmp_path)
    sink.write(first)
    with tensorboard(tmp_path, "--reload_interval", "1") as address, chromium(height=1000) as page:
        requests, dialogs = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{address}/#projector", timeout=60_000, wait_until="commit")
        frame, points = points_of(page, first)
        assert frame.locator("span.numDataPoints").inner_text() == "40"
        assert frame.locator("span.dim").inner_text() == "16"
        assert points == {"classes": SHOWN * 10, "sprite": [7 * 24, 7 * 24, 24, 24]}
        wait_for_thumbnails(page, frame, COLOUR)
        choose(frame, "No color map", "4 colors")
        frame.locator("vz-projector-legend").get_by_text("cat", exact=True).wait_for()
        legend = frame.locator("vz-projector-legend .label").all_inner_texts()
        assert sorted(legend) == sorted(SHOWN)

        sink.write(second)
        for _ in range(600):
            if page.request.get(f"{address}/data/runs").json() == ["projector-12"]:
                break
            page.wait_for_timeout(100)
        page.reload(wait_until="commit")
        frame, _ = points_of(page, first)
        entries = choose(frame, "step 000003", "step 000012")
        assert entries == [f"step {step:06d} · network.fc _ <more> 40x16" for step in (3, 12)]
        _, points = points_of(page, second)
        assert points == {"classes": SHOWN * 10, "sprite": [7 * 24, 7 * 24, 24, 24]}
        wait_for_thumbnails(page, frame, GREY)
        assert not dialogs
        assert {url for url in requests if not url.startswith(("data:", "blob:", address))} == set()
