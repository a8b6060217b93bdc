"""CUDA graphs, with a stand-in for the class that needs a GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from jupyter_lossacc.capture.capture import Capture
from tests.capture.truth import TRUTH, Net, Sink, make_data


class Graph:
    """Has the methods that are tapped."""

    def capture_begin(self, pool: object = None) -> None:
        """Begin."""

    def capture_end(self) -> None:
        """End."""
        if getattr(self, "broken", False):
            raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Graph:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    return Graph()


@pytest.mark.parametrize("broken", [False, True])
def test_what_is_captured_is_not_recorded_and_that_is_said(graph: Graph, broken: bool) -> None:
    TRUTH.reset()
    TRUTH.quiet = True
    x, y = make_data()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    sink = Sink()
    before = Graph.capture_begin, Graph.capture_end
    graph.broken = broken
    with Capture(sink) as capture:
        for _ in range(3):
            step()
        graph.capture_begin()
        assert not capture.journal.open
        for _ in range(5):
            step()
        if broken:
            with pytest.raises(RuntimeError, match="not permitted"):
                graph.capture_end()
        else:
            graph.capture_end()
        step()
    assert len(sink.column("loss")) == 4
    assert [limit for limit in sink.limits if "CUDA graph" in limit]
    assert (Graph.capture_begin, Graph.capture_end) == before


def test_a_graph_of_what_is_inside_a_model_is_not_mentioned(graph: Graph) -> None:
    sink = Sink()
    with Capture(sink):
        graph.capture_begin()
        torch.zeros(2) + 1
        graph.capture_end()
    assert not [limit for limit in sink.limits if "CUDA graph" in limit]


def test_a_graph_captured_before_the_recording_ends_outside_leaves_it_closed(graph: Graph) -> None:
    with Capture(Sink()) as capture:
        graph.capture_begin()
    graph.capture_end()
    assert not capture.journal.open
