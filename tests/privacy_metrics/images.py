"""Pictures that the tests of this package share."""

import torch
from skimage import data
from torch import Tensor


def photos(count: int = 4, side: int = 32) -> Tensor:
    """``[count, 3, side, side]`` crops of a photograph, in [0, 1]."""
    photo = torch.tensor(data.astronaut()).permute(2, 0, 1).float() / 255
    steps = [40 * number for number in range(count)]
    return torch.stack([photo[:, step : step + side, 100 + step : 100 + step + side] for step in steps])


def noisy(images: Tensor, sigma: float = 0.1, seed: int = 0) -> Tensor:
    """The same with Gaussian noise, in [0, 1]."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + sigma * noise).clamp(0, 1)
