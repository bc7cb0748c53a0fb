"""Features: what an encoder, such as a sparse autoencoder, makes of the activations of a site."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from reprlib import repr as short
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._shared import is_plain
from ..models import (
    SITES,
    Site,
    TransformerLensModel,
    is_hook,
    module_identity,
    select_sites,
    token_device,
)

#: Takes ``[example, unit]`` of a site, float32, and returns ``[example, feature]``.
Encode: TypeAlias = Callable[[Tensor], Tensor]
#: The family of features: a correction within a layer takes them apart from attention and MLP.
FEATURE = "feature"
_FORM = 'features are {"name": (site, encode)}, as {"sae": ("resid_post", sae.encode)}'


def _check_features(parameter: str, value: Any) -> None:
    """Raise unless the value maps names to a site and what encodes it."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{_FORM}; got {parameter} of type {type(value).__name__}")
    for feature, made in value.items():
        _check_name(feature)
        if not (isinstance(made, Sequence) and len(made) == 2 and isinstance(made[0], str)):
            raise TypeError(f"{_FORM}; got {short(made)} for {feature!r}")
        check_encode(feature, made[1])


def _check_name(feature: Any) -> None:
    if not is_plain(feature) or feature in SITES or is_hook(feature):
        raise ValueError(
            "a feature has a name of its own, of letters, digits and _, that is no site's; got "
            f"{feature!r}"
        )


def check_encode(name: str, encode: Any) -> None:
    """Raise TypeError unless something can be called, or maps layers to what can."""
    if isinstance(encode, Mapping):
        for layer, each in encode.items():
            if isinstance(layer, bool) or not isinstance(layer, int) or not callable(each):
                raise TypeError(
                    f"encode of {name!r} is a function, or one for each layer by its number; got "
                    f"{short(each)} for {short(layer)}"
                )
    elif not callable(encode):
        raise TypeError(
            f"encode of {name!r} is a function, as sae.encode, or one for each layer by its "
            f"number; got a {type(encode).__name__}"
        )


#: What the parameter ``features`` takes: name -> the site that is encoded, and its encoder.
Features = Annotated[Mapping[str, tuple[str, Any]], _check_features] | None


class Encoder(NamedTuple):
    """What makes the features of a name.

    Attributes
    ----------
    source
        The site that is encoded.
    encode
        A function, or one for each layer by its number.
    """

    source: Site
    encode: Encode | Mapping[int, Encode]

    def of_layer(self, layer: int) -> Encode:
        """The function of a layer."""
        return self.encode[layer] if isinstance(self.encode, Mapping) else self.encode

    def __call__(
        self, name: str, layer: int, act: Float[Tensor, "example unit"]
    ) -> Float[Tensor, "example feature"]:
        """Encode the activations of a layer.

        Raises
        ------
        ValueError
            The encoder gave something other than ``[example, feature]``.
        """
        given = act.to(torch.float32)
        made = self.of_layer(layer)(given)
        made = made.to_dense() if isinstance(made, Tensor) and made.is_sparse else made
        if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != len(act):
            got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(
                f"encode of {name!r} must turn [example, {act.shape[1]}] into [example, feature]; "
                f"of {tuple(given.shape)} it made {got}"
            )
        return made


def encoders_of(
    model: TransformerLensModel,
    features: Mapping[str, tuple[str, Any]] | None,
    layers: Sequence[int],
) -> tuple[tuple[Site, ...], dict[str, Encoder]]:
    """Make the sites of features, whose widths are measured, and their encoders by name.

    Raises
    ------
    ValueError
        A site that the model does not have; an encoder for other layers; encoders of unequal
        width.
    """
    sites, encoders = [], {}
    for name, (site, encode) in (features or {}).items():
        (source,) = select_sites(model, (site,))
        encoder = Encoder(source, encode)
        sites.append(feature_site(name, encoder, layers, token_device(model)))
        encoders[name] = encoder
    return tuple(sites), encoders


def feature_site(
    name: str, encoder: Encoder, layers: Iterable[int], device: torch.device | str
) -> Site:
    """Make the site of features: its width is that of what the encoder gives for one example.

    Raises
    ------
    ValueError
        As :func:`encoders_of`.
    """
    _check_name(name)
    source, widths = encoder.source, {}
    one = torch.zeros(1, source.width, dtype=torch.float32, device=device)
    for layer in layers:
        if isinstance(encoder.encode, Mapping) and layer not in encoder.encode:
            raise ValueError(
                f"encode of {name!r} has no function for layer {layer}; it has them for "
                f"{', '.join(map(str, encoder.encode))}: name these layers, layers=[...]"
            )
        with torch.inference_mode():
            widths[layer] = encoder(name, layer, one).shape[1]
    if len(set(widths.values())) > 1:
        raise ValueError(f"the features {name!r} must be equally many in all layers; got {widths}")
    return Site(name, source.hook, FEATURE, 1, next(iter(widths.values())))


def identity_of_encoders(encoders: Mapping[str, Encoder]) -> dict[str, Any]:
    """Tell encoders apart by the weights of the modules that they are methods of.

    Raises
    ------
    ValueError
        An encoder is not a module's, so that nothing tells it from another.
    """
    found: dict[str, Any] = {}
    for name, encoder in encoders.items():
        encode = encoder.encode
        by_layer = encode if isinstance(encode, Mapping) else {"all": encode}
        for layer, each in by_layer.items():
            owner = each if isinstance(each, nn.Module) else getattr(each, "__self__", None)
            if not isinstance(owner, nn.Module):
                raise ValueError(
                    f"kept features are recognised by the weights of what made them, and encode of "
                    f"{name!r} is not a method of a torch module; give one, as sae.encode, or "
                    "collect without a store"
                )
            method = getattr(each, "__name__", "forward")
            found[f"{name} {layer}"] = {
                "site": encoder.source.name, "method": method, **module_identity(owner),
            }  # fmt: skip
    return found
