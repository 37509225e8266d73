"""What ``atm list`` shows. Each list imports what it lists, and no other does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from atm.errors import unknown

Rows = list[tuple[str, str]]


def listing(what: str) -> Rows:
    """Names and one line about each.

    Raises:
        AtmError: nothing is listed under that word.
    """
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return LISTS[what]()


def _classes(found: Mapping[str, type[Any]]) -> Rows:
    return [
        (name, (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")) for name, kind in sorted(found.items())
    ]


def _attacks() -> Rows:
    import attacks

    return _classes(attacks.available() | attacks.inferences())


def _defenses() -> Rows:
    import defenses

    return _classes(defenses.available())


def _channels() -> Rows:
    from atm import channels

    return _classes(channels.CHANNELS)


def _victims() -> Rows:
    from atm import victims
    from atm.families import supported_families

    rows = []
    for name in victims.victims():
        about = victims.load_victim(name).description
        rows.append((name, f"{about['data']['name']}, test accuracy {about['accuracy']:.1%}"))
    families = [(f"timm: {f.name}", f"such as {', '.join(f.models)} ({f.note})") for f in supported_families()]
    return [*rows, ("FILE.safetensors", "written by atm train victim"), *families]


def _data() -> Rows:
    return [
        ("photos", "64x64 crops of scikit-image's photographs; needs no download"),
        ("PATH", "a folder or tar of class folders"),
        ("torch/NAME", "torchvision's data sets, as timm names them, such as torch/cifar10"),
        ("hfds/NAME", "data sets of the Hugging Face hub, as timm names them"),
    ]


def _policies() -> Rows:
    from atm import policy

    presets = [(name, f"every threshold at {threshold:g}") for name, threshold in policy.PRESETS.items()]
    return [
        *presets,
        ("uniform-T", "every threshold at T, such as uniform-0.85"),
        ("tome-R", "fixed ratio: R tokens fewer at every layer"),
        ("FILE.yaml", "one threshold per layer, from a file"),
    ]


def _threats() -> Rows:
    from atm import threat

    return [(name, model.describe()) for name, model in threat.PRESETS.items()]


def _metrics() -> Rows:
    from privacy_metrics import METRICS

    return [(name, metric.label) for name, metric in METRICS.items()]


LISTS: dict[str, Callable[[], Rows]] = {
    "attacks": _attacks,
    "defenses": _defenses,
    "channels": _channels,
    "victims": _victims,
    "data": _data,
    "policies": _policies,
    "threats": _threats,
    "metrics": _metrics,
}
