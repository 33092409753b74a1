"""A document as data: sections of paragraphs, lists, tables and pictures, which `html` and `pdf` set without changing a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph; a `notice` stands out."""

    words: str
    notice: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, what it shows, and the width of each column as a share of the page (they sum to 1)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    widths: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        wrong = {len(r) for r in self.rows} - {len(self.header)}
        if wrong or (self.widths is not None and len(self.widths) != len(self.header)):
            raise ValueError(f"rows: {wrong or self.widths} cells, the header has {len(self.header)}")


@dataclass(frozen=True, eq=False)
class Picture:
    """A PNG with its caption, and how much of the page's width it takes (0…1)."""

    png: bytes
    caption: str
    share: float = 0.5


Block = Text | Bullets | Table | Picture


@dataclass(frozen=True, eq=False)
class Section:
    """A part with its heading, and the items of TRIPOD+AI that it answers."""

    title: str
    blocks: tuple[Block, ...]
    items: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title, and the items it answers."""
        return f"{self.title} (items {', '.join(self.items)})" if self.items else self.title


@dataclass(frozen=True, eq=False)
class Document:
    """Everything that is told.

    Parameters
    ----------
    mark : stands on every page: what this must not be used for.
    title, subtitle : what it is of, when and by what it was made.
    sections : in their order.
    """

    mark: str
    title: str
    subtitle: str
    sections: tuple[Section, ...]


def groups(blocks: tuple[Block, ...]) -> Iterator[tuple[Block, ...]]:
    """Blocks one by one, pictures that fit beside each other together."""
    row: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture) and sum(p.share for p in row) + block.share <= 1:
            row.append(block)
            continue
        if row:
            yield tuple(row)
        row = []
        if isinstance(block, Picture):
            row = [block]
        else:
            yield (block,)
    if row:
        yield tuple(row)
