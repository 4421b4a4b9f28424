"""Features laid out by t-SNE and coloured by class.

The numbers are of the features themselves: distances in a t-SNE plane mean little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.analysis.figures import hide_rest, look, new_figure, panel_size, shortened
from bench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 10
NEIGHBOURS = 10
PERPLEXITY = 30.0

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Embedding:
    """Features laid out in a plane.

    Attributes:
        plane: float32 ``[n, 2]``.
        silhouette: Of the classes in the features, -1 to 1; 0 where classes overlap.
        silhouette_plane: Of the classes in the plane.
        purity: Mean share of an object's nearest neighbours, in the features, that have its class.
        chance: The same share among random objects.
        neighbours: Number of nearest neighbours counted.
        perplexity: Of the t-SNE.
    """

    plane: Array
    silhouette: float
    silhouette_plane: float
    purity: float
    chance: float
    neighbours: int
    perplexity: float


def embed(features: Array, labels: Labels, seed: int, perplexity: float = PERPLEXITY) -> Embedding:
    """Lay features out by t-SNE; measure how classes separate.

    Every dimension is standardised first, so that none counts more for its scale.

    Args:
        features: ``[n, F]``.
        labels: int64 ``[n]``.
        seed: Of the t-SNE; it starts from the first two principal components.
        perplexity: Neighbours that each object keeps to, roughly; lowered where there are few objects.

    Raises:
        UsageError: There are too few objects or classes, or the features are all the same.
    """
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    count, classes = len(features), len(np.unique(labels))
    if count < FEWEST or not 2 <= classes < count:
        raise UsageError(
            f"{count} objects of {classes} class(es) cannot be laid out by class; at least {FEWEST} objects of 2 "
            "classes are needed: raise --count, or choose another --dataset"
        )
    if not perplexity > 0:
        raise UsageError(f"--perplexity {perplexity:g}: expected a positive number, e.g. 30")
    scaled = standardised(features)
    used = min(perplexity, (count - 1) / 3)
    layout = TSNE(perplexity=used, init="pca", learning_rate="auto", random_state=seed % 2**32, n_jobs=1)
    plane = np.asarray(layout.fit_transform(scaled), dtype=np.float32)
    neighbours = min(NEIGHBOURS, count - 1)
    purity, chance = neighbour_purity(scaled, labels, neighbours)
    return Embedding(
        plane=plane,
        silhouette=float(silhouette_score(scaled, labels)),
        silhouette_plane=float(silhouette_score(plane, labels)),
        purity=purity,
        chance=chance,
        neighbours=neighbours,
        perplexity=used,
    )


def standardised(features: Array) -> Array:
    """Standardise every dimension; constant ones become 0.

    Raises:
        UsageError: All dimensions are constant.
    """
    wide = features.astype(np.float64)
    deviation = wide.std(0)
    if not (deviation > 1e-9).any():
        raise UsageError("all objects have the same feature, so there is nothing to lay out: the encoder has collapsed")
    scaled = np.where(deviation > 1e-9, (wide - wide.mean(0)) / np.where(deviation > 1e-9, deviation, 1), 0)
    return scaled.astype(np.float32)


def neighbour_purity(features: Array, labels: Labels, neighbours: int) -> tuple[float, float]:
    """Return nearest neighbours' share of the same class.

    The object itself does not count. The second number is the same among random objects.

    >>> import numpy as np
    >>> neighbour_purity(np.array([[0.0], [0.1], [9.0], [9.1]], np.float32), np.array([0, 0, 1, 1]), 1)
    (1.0, 0.3333333333333333)
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors(return_distance=False)
    purity = float((labels[index] == labels[:, None]).mean())
    sizes = np.bincount(labels)[labels]
    return purity, float(((sizes - 1) / (len(labels) - 1)).mean())


def draw(found: Mapping[str, Embedding], labels: Labels, classes: Sequence[str], what: str) -> Figure:
    """Draw a panel per encoder, colour and mark by class.

    Args:
        found: By what the encoder is called.
        labels: int64 ``[n]``.
        classes: Class names, index = label.
        what: Description of feature and objects, for the title.
    """
    present = np.unique(labels)
    lines, columns = panel_size(len(found), 3)
    with new_figure(1.9 + 3.9 * columns, 0.8 + 4.0 * lines) as figure:
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, (name, one) in zip(grid.flat, found.items(), strict=False):
            for place, label in enumerate(present):
                colour, marker = look(place)
                own = one.plane[labels == label]
                axes.scatter(
                    *own.T, s=20, color=colour, marker=marker, alpha=0.8, linewidths=0, label=shortened(classes[label])
                )
            axes.set_title(
                f"{name}\nsilhouette {one.silhouette:.2f}, {one.neighbours}-neighbour purity {one.purity:.2f} "
                f"(chance {one.chance:.2f})",
                fontsize=8.5,
            )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_aspect("equal", adjustable="datalim")
            axes.spines[:].set_visible(True)
            axes.spines[:].set_color("#d0d0d0")
        hide_rest(list(grid.flat), len(found))
        figure.legend(
            *grid[0, 0].get_legend_handles_labels(),
            loc="outside right center",
            fontsize=7.5,
            ncols=1 + len(present) // 30,
        )
        figure.suptitle(f"t-SNE of {what}", fontsize=11)
    return figure
