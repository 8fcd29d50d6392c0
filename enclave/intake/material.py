"""What a reviewer looks at: the de-identified texts and pictures of a sample, each sealed, each gone once judged.

Heads from the front stay for a while: who determines and who releases decides after the sample was judged.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import NotFoundError
from enclave.deid.check_pixels import recorded_boxes
from enclave.deid.check_texts import SHOWN_AS, recorded_texts, running_text
from enclave.deid.job import JobResult
from enclave.deid.tables import CleanTable
from enclave.intake.pictures import picture_of, views_of
from enclave.intake.review import frontal_of, item_of
from enclave.keys.box import Box
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.wire.messages.intake import ReviewItem
from enclave.wire.messages.schema import from_json, to_json

_MAX_TEXT = 100_000  # characters of one item, which is one message; a longer text is several items


class ReviewMaterial:
    """Sealed files below one folder: ``BATCH/ITEM``, the item's name hashed."""

    def __init__(self, folder: Path, *, box: Box) -> None:
        self._folder = ensure_private_dir(folder)
        self._box = box

    def keep(self, batch: str, *, sample: Iterable[str], work: Path, job: JobResult) -> list[str]:
        """Keeps what ``sample`` names: images below ``work``, running text in objects, cells of the job's tables, all
        as they left the cleaner. Gives the sample in which a text too long for one item is followed by its other parts.

        An image with blanked boxes is shown beside the same image as it came in, so that a person sees what went; so is
        a head whose face went, from the front.
        """
        ensure_private_dir(self._folder / batch)
        by_name = {clean.name: clean for clean in job.tables}
        boxes = recorded_boxes(work / "provenance.parquet")
        flagged = recorded_texts(work / "provenance.parquet")
        faces = {frontal_of(folder): views for folder, views in job.faces.items()}
        mark, kept = f"REVIEW {batch[:8]}", list[str]()
        for path in sample:
            table, cell = path.partition("#")[::2]
            if path in faces:
                shown = views_of(faces[path].before, faces[path].after, mark=mark)
            elif cell == SHOWN_AS and table in flagged:
                shown = ReviewItem(kind="text", text=running_text(work / table, tags=flagged[table]))
            elif cell:
                shown = _text(by_name[Path(table).stem], cell)
            else:
                before = job.sources.get(path) if boxes.get(path) else None
                shown = picture_of(work / path, before=before, boxes=boxes.get(path, ()), mark=mark)
            for number, part in enumerate(_parts(shown), 1):
                kept.append(path if number == 1 else f"{path}[{number}]")
                self._keep(batch, item_of(kept[-1]), part)
        return kept

    def _keep(self, batch: str, item: str, shown: ReviewItem) -> None:
        sealed = self._box.seal(canonical_bytes(to_json(shown)), context=_context(batch, item))
        write_whole(self._path(batch, item), sealed)

    def show(self, batch: str, item: str) -> ReviewItem:
        """One item; raises ``NotFoundError`` once it was judged."""
        try:
            sealed = self._path(batch, item).read_bytes()
        except FileNotFoundError:
            raise NotFoundError("review sample: wanted an item that waits, got one without material") from None
        return from_json(ReviewItem, parse_json(self._box.open(sealed, context=_context(batch, item))))

    def holds(self, batch: str, item: str) -> bool:
        """Whether there is something to be shown of an item."""
        return self._path(batch, item).is_file()

    def forget(self, batch: str, item: str) -> None:
        """The item was judged: nobody needs to see it again."""
        self._path(batch, item).unlink(missing_ok=True)

    def forget_all(self, batch: str) -> None:
        """The batch did not become a version."""
        shutil.rmtree(self._folder / batch, ignore_errors=True)

    def _path(self, batch: str, item: str) -> Path:
        return self._folder / batch / hashlib.sha256(item.encode()).hexdigest()[:32]


def _parts(shown: ReviewItem) -> Iterator[ReviewItem]:
    """A picture as it is; of a text parts that are the whole one after the other, cut at blanks where there are any."""
    text = shown.text
    while len(text) > _MAX_TEXT:
        end = max(text.rfind(blank, 1, _MAX_TEXT + 1) for blank in " \n")
        end = end if end > 0 else _MAX_TEXT
        yield replace(shown, text=text[:end])
        text = text[end:]
    yield replace(shown, text=text)


def _text(clean: CleanTable, cell: str) -> ReviewItem:
    column, _, row = cell.rpartition("[")
    value = clean.table.column(column)[int(row.rstrip("]"))].as_py()
    return ReviewItem(kind="text", text=str(value or ""))


def _context(batch: str, item: str) -> bytes:
    return f"review {batch} {item}".encode()
