"""What a figure shows: its texts, and whether any lie on each other."""

from itertools import combinations


def shown_texts(figure):
    """Every text that is drawn, and its place."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    axes = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
    legends = [*figure.legends, *filter(None, (ax.get_legend() for ax in axes))]
    shown = [
        text
        for ax in axes
        for text in (
            *ax.texts,
            *drawn_ticks(ax.xaxis, ax.get_xlim()),
            *drawn_ticks(ax.yaxis, ax.get_ylim()),
            ax.xaxis.label,
            ax.yaxis.label,
            ax._left_title,
        )
    ]
    shown += [text for box in legends for text in box.get_texts()]
    shown += [figure._suptitle] if figure._suptitle else []
    shown = [text for text in shown if text.get_text() and text.get_visible()]
    return {text: text.get_window_extent(renderer) for text in shown}


def texts_overlap(figure):
    """Pairs of visible texts of a figure that lie on each other, and texts that it cuts off."""
    boxes = {text: box.shrunk(0.98, 0.9) for text, box in shown_texts(figure).items()}
    edge = figure.bbox.padded(1)
    return [
        (a.get_text(), b.get_text()) for a, b in combinations(boxes, 2)
        if boxes[a].overlaps(boxes[b])
    ] + [
        (text.get_text(), "the edge") for text, box in boxes.items()
        if not (edge.contains(*box.min) and edge.contains(*box.max))
    ]  # fmt: skip


def drawn_ticks(axis, limits):
    low, high = sorted(limits)
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_visible()]
