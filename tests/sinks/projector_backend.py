"""TensorBoard's projector backend, with the requests that its page makes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client


class ProjectorBackend:
    """The backend on a folder; `reload` reads it again, as TensorBoard's timer does."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._runs = EventMultiplexer()
        self.reload()
        provider = MultiplexerDataProvider(self._runs, self._folder)
        plugin = ProjectorPlugin(TBContext(logdir=self._folder, data_provider=provider))
        self._clients = {route: Client(app) for route, app in plugin.get_plugin_apps().items()}

    def reload(self) -> None:
        self._runs.AddRunsFromDirectory(self._folder)
        self._runs.Reload()

    def _get(self, route: str, query: str = ""):
        response = self._clients[f"/{route}"].get(f"/{route}?{query}")
        assert response.status_code == 200, response.text
        return response

    @property
    def runs(self) -> list[str]:
        return self._get("runs").json

    @property
    def embeddings(self) -> dict[str, dict]:
        """The config's entry of each tensor by name, of the only run."""
        if not self.runs:
            return {}
        (run,) = self.runs
        entries = self._get("info", f"run={run}").json["embeddings"]
        assert len({entry["tensorName"] for entry in entries}) == len(entries)
        return {entry["tensorName"]: entry for entry in entries}

    def _get_file(self, route: str, name: str):
        # The page puts names into URLs without escaping; the browser encodes what a URL must not contain.
        return self._get(route, f"run={self.runs[0]}&name={name}&num_rows=100000")

    def tensor(self, name: str) -> np.ndarray:
        return np.frombuffer(self._get_file("tensor", name).data, np.float32).reshape(
            self.embeddings[name]["tensorShape"]
        )

    def lines(self, name: str) -> list[str]:
        """The lines of the metadata, as the page splits and skips them."""
        lines = self._get_file("metadata", name).text.split("\n")
        assert lines[-1] == ""
        return [line for line in lines if line.strip()]

    def sprite(self, name: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self._get_file("sprite_image", name).data)))

    def load_all(self) -> list[str]:
        """Load all files of the run; the names of its tensors."""
        for name, entry in self.embeddings.items():
            assert np.isfinite(self.tensor(name)).all()
            assert self.lines(name)
            if "sprite" in entry:
                self.sprite(name)
        return list(self.embeddings)
