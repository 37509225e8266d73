"""Where frames come from: what each source gives, in which order, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from atm.errors import AtmError
from atm.signals import ImageSignal
from audit.live.sources import Files, Stills, camera_picture, shots, source_of
from audit.live.system import LiveConfig
from audit.setting import samples as of_description

SIGNAL = ImageSignal((3, 32, 32), (4, 4))


def drawn(path, colour, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def config(pictures, **changes):
    return LiveConfig(data=str(pictures), images=4, auxiliary=20, **changes)


def test_pictures_of_the_description_are_those_that_an_attack_would_attack(pictures):
    source = source_of(None, config(pictures, seed=3), SIGNAL, 2)
    wanted = of_description(config(pictures, seed=3), SIGNAL).victims.images
    sent = list(shots(source))
    assert [each.number for each in sent] == list(range(8))
    assert all(torch.equal(each.image, wanted[each.number % 4]) for each in sent)
    assert not torch.equal(of_description(config(pictures, seed=4), SIGNAL).victims.images, wanted)


def test_a_folder_of_frames_needs_no_classes_and_comes_in_natural_order(tmp_path, pictures):
    for number in (10, 2, 1):
        drawn(tmp_path / f"frames/shot{number}.png", (number, 0, 0))
    (tmp_path / "frames/notes.txt").write_text("no picture")
    source = source_of(str(tmp_path / "frames"), config(pictures), SIGNAL, 1)
    assert isinstance(source, Files)
    assert [round(float(each.image[0, 0, 0]) * 255) for each in shots(source)] == [1, 2, 10]
    one = source_of(str(tmp_path / "frames/shot2.png"), config(pictures), SIGNAL, 3)
    assert [round(float(each.image[0, 0, 0]) * 255) for each in shots(one)] == [2, 2, 2]


def test_class_folders_are_read_as_everywhere(tmp_path, pictures):
    source = source_of(str(pictures), config(pictures), SIGNAL, 1)
    assert isinstance(source, Stills) and len(list(shots(source))) == 80


def test_a_file_that_is_no_picture_is_named(tmp_path, pictures):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(AtmError, match=r"broken\.png cannot be used"):
        list(shots(source_of(str(tmp_path / "broken.png"), config(pictures), SIGNAL, 1)))
    for frames in ("", "nowhere", str(tmp_path / "nowhere.png"), "camera:x", "camera:12345", "a\0b"):
        with pytest.raises(AtmError):
            source_of(frames, config(pictures), SIGNAL, 1)
    with pytest.raises(AtmError, match="below 0"):
        source_of(None, config(pictures), SIGNAL, -1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 24)])
def test_a_camera_picture_is_red_where_the_camera_sees_red(shape):
    seen = np.zeros((48, 64, 3), np.uint8)
    seen[:, :, 2] = 255  # blue, green, red
    picture = camera_picture(seen, shape)
    assert picture.shape == shape and float(picture.max()) <= 1
    if shape[0] == 3:
        assert torch.equal(picture, torch.tensor([1.0, 0, 0])[:, None, None].expand(shape))


def test_a_camera_without_its_library_says_what_to_install(pictures, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(AtmError, match="opencv-python-headless"):
        source_of("camera", config(pictures), SIGNAL, 1)
