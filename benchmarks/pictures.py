"""Pictures of results: the same results give the same bytes."""

from pathlib import Path
from typing import Any


def pyplot_of(name: str) -> Any:
    """pyplot for the pictures of this benchmark; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot

    return pyplot


def save(pyplot: Any, figure: Any, out: Path) -> None:
    """Write the picture, without the date."""
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)
