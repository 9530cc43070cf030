"""A figure into a file that a user named."""

from pathlib import Path
from typing import TYPE_CHECKING

from rlef_plugin.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: "Figure", path: Path, dpi: int, example: str) -> None:
    """In the format of the path's ending; `example`: the name of a file that would do.

    Raises:
        UsageError: the path has no ending, is a folder, or cannot be written.
    """
    if not path.suffix or path.is_dir():
        raise UsageError(f"{str(path)!r} is no name for a picture: name a file with an ending, such as .png")
    try:
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be written ({error}): choose another file, such as {example}") from None
