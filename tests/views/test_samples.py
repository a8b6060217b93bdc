"""Samples as people see them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from jupyter_lossacc.views.samples import Portraits, portray


def picture(portrait):
    return np.asarray(Image.open(io.BytesIO(portrait.png)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tensor_of_channels_is_a_picture_with_its_values(channels):
    pixels = torch.arange(channels * 48).reshape(channels, 6, 8).to(torch.uint8)
    portrait = portray(3, (pixels, 1))
    assert portrait.kind == "image"
    assert portrait.text == "picture of 8 × 6 pixels"
    shown = picture(portrait).reshape(6, 8, channels)
    assert np.array_equal(np.moveaxis(shown, -1, 0), pixels.numpy())


def test_normalised_values_are_stretched_and_it_says_so():
    pixels = torch.linspace(-2.0, 2.0, 64, dtype=torch.bfloat16).reshape(8, 8)
    portrait = portray(0, pixels)
    assert (picture(portrait).min(), picture(portrait).max()) == (0, 255)
    assert portrait.text.endswith("values −2 to 2 drawn from black to white")
    broken = pixels.clone()
    broken[0, 0] = float("nan")
    assert portray(0, broken).kind == "image"


def test_a_large_picture_becomes_a_thumbnail():
    portrait = portray(0, Image.new("RGB", (2000, 1500), (200, 10, 10)))
    assert max(picture(portrait).shape) <= 160
    assert tuple(picture(portrait)[0, 0]) == (200, 10, 10)
    assert "2000 × 1500" in portrait.text


@pytest.mark.parametrize(
    ("item", "kind", "words"),
    [
        ("a text", "text", "a text"),
        ({"question": "why?", "answer": "because", "label": 1}, "text", "question: why?\nanswer: because"),
        ((torch.tensor([1.5, -2.0, 3.0]), 1), "row", "3 values: 1.5, −2, 3"),
        ({"input_ids": list(range(40)), "labels": 1}, "row", "and 24 more"),
        (object(), "other", "object"),
        (ValueError("no file"), "missing", "The dataset gave no sample 7: ValueError: no file"),
        (np.array(["a", "b"]), "other", "ndarray"),
    ],
)
def test_every_sample_is_told_somehow(item, kind, words):
    portrait = portray(7, item)
    assert portrait.kind == kind
    assert words in portrait.text


def test_texts_and_names_are_text():
    shown = Portraits((portray(1, "<script>x</script>", "<b>cat</b>, taken for dog"),))
    assert "<script>" not in shown._repr_html_()
    assert "<b>cat" not in shown._repr_html_()
    assert repr(shown) == "sample 1: <b>cat</b>, taken for dog; <script>x</script>"
