"""Which layers are meant."""

from collections.abc import Iterable


def chosen_layers(n_layers: int, layers: Iterable[int] | None) -> tuple[int, ...]:
    """Give the layers in the order of the network; all of them if none are named.

    Raises
    ------
    ValueError
        No layer, one named twice, or one that does not exist.
    """
    if layers is None:
        return tuple(range(n_layers))
    numbers = tuple(sorted(int(layer) for layer in layers))
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"layers must name at least one layer, and each once; got {numbers}")
    if numbers[0] < 0 or numbers[-1] >= n_layers:
        raise ValueError(f"layers must lie between 0 and {n_layers - 1}; got {numbers}")
    return numbers
