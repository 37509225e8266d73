"""LPIPS against torchmetrics where the real weights are, and what happens where they are not."""

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from privacy_metrics import LpipsUnavailable, lpips, perceptual, score
from tests.conftest import ALEXNET as CHECKPOINT
from tests.privacy_metrics.images import noisy, photos

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def real_weights(monkeypatch):
    file = SHARED / "torch_home" / CHECKPOINT
    if not file.exists():
        pytest.skip(f"needs {file.name} in {file.parent.relative_to(SHARED.parent)}")
    monkeypatch.setenv("TORCH_HOME", str(SHARED / "torch_home"))


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No weights on this machine. What a download finds is up to the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / CHECKPOINT


@pytest.fixture
def server(monkeypatch):
    """Serves wrong weights, or with ``silent`` set accepts requests and never answers."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        silent = False

        def do_GET(self):
            if self.silent:
                released.wait(10)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"a login page, say")

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setattr(perceptual, "_URL", f"http://127.0.0.1:{http.server_port}/alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Handler
    released.set()
    http.shutdown()
    http.server_close()


@pytest.mark.shared
@pytest.mark.parametrize("side", [64, 96])
def test_real_weights_give_the_numbers_of_torchmetrics(real_weights, side):
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    original = photos(4, side)
    reconstruction = noisy(original, 0.2)
    reference = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    expected = [reference(reconstruction[i : i + 1], original[i : i + 1]).item() for i in range(4)]
    assert lpips(reconstruction, original).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.shared
def test_real_weights_order_reconstructions_as_people_do(real_weights):
    original = photos()
    slightly, badly = lpips(noisy(original, 0.02), original), lpips(noisy(original, 0.4), original)
    assert lpips(original, original).tolist() == [0.0] * 4
    assert (slightly > 0).all() and (badly > 2 * slightly).all()


def test_the_trunk_is_the_one_in_the_file(planted):
    network = perceptual._network(planted)
    kept = dict(network.net.named_parameters())
    stored = torch.load(planted, weights_only=True)
    assert len(kept) == len(stored) == 10
    for name, value in kept.items():
        assert torch.equal(value, stored["features." + name.split(".", 1)[1]])
    assert not network.training and not any(value.requires_grad for value in network.parameters())


def test_identical_images_have_distance_zero_and_others_more(planted):
    assert lpips(photos(), photos()).tolist() == [0.0] * 4
    assert (lpips(noisy(photos()), photos()) > 0).all()


def test_small_images_are_upsampled_to_64_and_a_report_can_say_so(planted):
    original, reconstruction = photos(2), noisy(photos(2))
    enlarged = [torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear") for x in (reconstruction, original)]
    torch.testing.assert_close(lpips(reconstruction, original), lpips(*enlarged))
    assert perceptual.input_note(3, 32, 32) == perceptual.LPIPS.note(3, 32, 32) != ""
    assert perceptual.input_note(3, 64, 64) == ""


def test_grey_images_go_in_as_three_equal_channels_and_a_report_can_say_so(planted):
    original, reconstruction = photos(2)[:, :1, :, :24], noisy(photos(2))[:, :1, :, :24]
    in_colour = lpips(reconstruction.repeat(1, 3, 1, 1), original.repeat(1, 3, 1, 1))
    torch.testing.assert_close(lpips(reconstruction, original), in_colour)
    assert bool((in_colour > 0).all())
    assert perceptual.input_note(1, 96, 64) == "LPIPS sees the 96x64 images as three equal channels"
    assert "upsampled to 85x64 (bilinear) and as three" in perceptual.LPIPS.note(1, 32, 24)


def test_an_image_scores_the_same_in_any_company(planted, monkeypatch):
    original = photos(5)
    together = lpips(noisy(original), original)
    monkeypatch.setattr(perceptual, "BATCH", 2)
    torch.testing.assert_close(lpips(noisy(original), original), together, rtol=0, atol=1e-5)
    assert len(set(together.tolist())) == 5


@pytest.mark.filterwarnings("error")
def test_loading_is_silent_and_draws_no_random_numbers(planted, capfd):
    perceptual._network.cache_clear()
    before = torch.random.get_rng_state()
    lpips(photos(1), photos(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_weights_are_loaded_once(planted):
    assert perceptual._network(planted) is perceptual._network(planted)


def test_without_weights_and_network_one_line_says_how_to_get_them(nothing, monkeypatch):
    attempts = []

    def offline(*_):
        attempts.append(socket.getdefaulttimeout())
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    for _ in range(2):
        with pytest.raises(LpipsUnavailable, match=r"alexnet-owt-7be5be79.*no network.*TORCH_HOME") as caught:
            lpips(photos(), photos())
        assert "\n" not in str(caught.value)
    assert attempts == [perceptual.CONNECT_SECONDS]  # tried once, with a limit
    assert socket.getdefaulttimeout() is None
    scores, missing = score(photos(), photos())
    assert list(scores) == ["ssim", "psnr"] and "TORCH_HOME" in missing["lpips"]


def test_a_server_that_never_answers_is_given_up(nothing, server, monkeypatch):
    server.silent = True
    monkeypatch.setattr(perceptual, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(LpipsUnavailable, match="timed out"):
        lpips(photos(1), photos(1))
    assert time.monotonic() - start < 5


def test_a_download_of_something_else_is_not_kept(nothing, server, capfd):
    with pytest.raises(LpipsUnavailable, match="invalid hash"):
        lpips(photos(1), photos(1))
    assert not list(nothing.parent.iterdir())
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are made unwritable the Unix way")
def test_a_folder_that_cannot_be_written_is_no_crash(monkeypatch, tmp_path):
    (tmp_path / "hub").write_text("a file where the folder should be")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(LpipsUnavailable):
        lpips(photos(1), photos(1))


def _torn(file):
    file.write_bytes(b"PK\x03\x04 torn off")


def _without_a_layer(file):
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, file)


@pytest.mark.parametrize("damage", [_torn, _without_a_layer])
def test_damaged_weights_are_called_so(nothing, damage):
    nothing.parent.mkdir(parents=True)
    damage(nothing)
    with pytest.raises(LpipsUnavailable, match="damaged") as caught:
        lpips(photos(1), photos(1))
    assert "\n" not in str(caught.value)


def test_weights_that_hide_code_are_not_run(nothing, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    nothing.parent.mkdir(parents=True)
    torch.save({"features.0.weight": Bomb()}, nothing)
    with pytest.raises(LpipsUnavailable, match="damaged"):
        lpips(photos(1), photos(1))
    assert not (tmp_path / "exploded").exists()


def test_bad_images_are_refused_before_anything_is_loaded(nothing, monkeypatch):
    monkeypatch.setattr(perceptual, "_provide", lambda _: pytest.fail("looked for weights"))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        lpips(photos() * 255, photos())
