"""The one description of what is attacked, by whom and with what. Nothing here is loaded: names stay names."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from atm.errors import AtmError, unknown

Lax = Field(strict=False)  # a list where a tuple is meant; what is in it stays strict
Words = Annotated[tuple[str, ...], Lax]
Numbers = Annotated[tuple[float, ...], Lax]

# Fields whose defaults differ between commands.
Threat = Annotated[str, Field(description="server, eavesdropper, eavesdropper:CHANNEL or a YAML file.")]
Images = Annotated[int, Field(description="Pictures to attack; no verdict of privacy below 100.")]
Auxiliary = Annotated[int, Field(description="The adversary's own pictures, at most.")]
Policies = Annotated[tuple[str, ...], Lax, Field(description="Policy preset, uniform-T, tome-R or YAML file.")]


class System(BaseModel):
    """A victim, its way to the server and its adversary. Commands add to it what they do with it.

    `audit.setting.resolve` is the one place where these names become objects. ``mean`` and ``std`` have one number per
    channel; empty, and None elsewhere, takes what the victim brings. ``images`` and ``auxiliary`` count pictures.

    Raises:
        AtmError: an unknown field, or a value of another type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    victim: Annotated[str, Field(description="Shipped victim, .safetensors file, timm name, folder or hub name.")] = (
        "vit_photos"
    )
    weights: Annotated[str | None, Field(description="Safetensors file with a timm victim's weights.")] = None
    image_size: Annotated[
        str | None, Field(description="224, or height and width as 224x160; default: the weights'.")
    ] = None
    mean: Annotated[Numbers, Field(description="Of the input's normalisation; one for each channel.")] = ()
    std: Annotated[Numbers, Field(description="Likewise, its deviation.")] = ()
    head: Annotated[
        str | None,
        Field(description="Task head: a file of atm train head, or probe to fit one to --data's training pictures."),
    ] = None
    classes: Annotated[str | None, Field(description="Text file with the names of the logits, one a line.")] = None
    codec: Annotated[
        str, Field(description="auto, jscc, uncoded, digital:SNR or a .safetensors file; auto:16 for another rate.")
    ] = "auto"
    channel: Annotated[str, Field(description="Such as awgn:10 or rayleigh:10; see atm list channels.")] = "awgn:10"
    defense: Annotated[
        str | None, Field(description="What the device does to its tokens, such as drop:0.5+gaussian:0.2.")
    ] = None
    threat: Threat = "server"
    data: Annotated[str, Field(description="photos, a folder or tar of class folders, torch/cifar10, hfds/...")] = (
        "photos"
    )
    auxiliary_data: Annotated[
        str | None, Field(description="Where the adversary's own pictures come from; default: --data.")
    ] = None
    images: Images = 100
    auxiliary: Auxiliary = 4000
    seed: Annotated[int, Field(description="Seed of everything that is random.")] = 0
    device: Annotated[
        str, Field(description="Where tensors are computed: auto (CUDA if there is any), cpu, cuda, cuda:1 or mps.")
    ] = "auto"

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, given: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return build(given)
        except ValidationError as error:
            raise _mistake(cls, error) from None

    def plain(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return self.model_dump(mode="json")

    def shared(self) -> dict[str, Any]:
        """The fields that every command has."""
        return {name: getattr(self, name) for name in System.model_fields}

    def but(self, **changes: Any) -> Self:
        """The same with some fields changed.

        Raises:
            AtmError: as for a new one.
        """
        return type(self)(**{**dict(self), **changes})


def _mistake(kind: type[System], error: ValidationError) -> AtmError:
    found = error.errors(include_url=False)[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        return unknown("field", name, kind.model_fields)
    said = found["msg"].removeprefix("Input ").replace("tuple", "list")
    return AtmError(f"{name} {found['input']!r}: {said}")
