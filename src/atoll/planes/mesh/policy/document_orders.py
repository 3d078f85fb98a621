"""From an order's files to changes of documents, with everything that speaks against them.

Rule: pure, and the one place where an order is judged: applying, a dry run, a difference and a canary all stand on
``prepare``. What contradicts itself is never taken; what refers to something that is not there, or contradicts another
document, is an error that ``force`` makes a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import Change, DocumentView
from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.policy import contradictions, references
from atoll.planes.mesh.policy.references import Finding, Known
from atoll.resources.mesh import hosts
from atoll.resources.mesh.document_api import (
    TEXT_BYTES_MAX,
    DocumentName,
    FileText,
)
from atoll.resources.mesh.documents import decoding, reading
from atoll.resources.mesh.documents.kinds import FORMS, Document, DocumentKey
from atoll.resources.mesh.documents.parts import Fault
from atoll.resources.mesh.documents.reading import Problem, Read, Severity
from atoll.resources.mesh.services import MeshService

PROBLEMS_SHOWN_MAX = 50


class Prepared(msgspec.Struct, frozen=True):
    """``generation``: what the decision stands on; it must still be so when it is committed."""

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    policies: Policies
    generation: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(each for each in self.problems if each.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(each for each in self.problems if each.severity is Severity.WARNING)

    def require_valid(self) -> None:
        """Raises INVALID / CONTENT_INVALID that tells every error, with the place of the first one as facts."""
        errors = self.errors
        if not errors:
            return
        shown = [str(each) for each in errors[:PROBLEMS_SHOWN_MAX]]
        if len(errors) > PROBLEMS_SHOWN_MAX:
            shown.append(f"... and {len(errors) - PROBLEMS_SHOWN_MAX} more")
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        first = errors[0]
        raise AtollError(
            Code.INVALID,
            "\n".join([f"{count}, nothing was changed", *shown]),
            reason=Reason.CONTENT_INVALID,
            facts={"file": first.file, "line": first.line, "column": first.column, "path": first.path},
        )


class ReadFiles(msgspec.Struct, frozen=True):
    documents: tuple[Read, ...]
    problems: tuple[Problem, ...]


def read_files(files: Iterable[FileText], namespace: str) -> ReadFiles:
    """All documents of all files. Raises INVALID past the limit of their size."""
    every = list(files)
    size_bytes = sum(len(each.text) for each in every)
    if size_bytes > TEXT_BYTES_MAX:
        text = f"the files have {size_bytes} characters; at most {TEXT_BYTES_MAX}: apply them in parts"
        raise AtollError(Code.INVALID, text, reason=Reason.CONTENT_TOO_LARGE)
    documents: list[Read] = []
    problems: list[Problem] = []
    seen: dict[DocumentKey, Read] = {}
    for file in every:
        found = reading.read(file.text, file.name, namespace)
        documents += found.documents
        problems += found.problems
        for each in found.documents:
            first = seen.setdefault(each.key, each)
            if first.source.file != each.source.file:
                line = first.source.tree.place(first.source.at).line
                message = f"{each.key} stands in {first.source.file}:{line} as well"
                problems.append(each.source.problem(Fault((), message, "take one of them out"), each.key))
    return ReadFiles(tuple(documents), tuple(problems))


def prepare(
    view: DocumentView, files: ReadFiles, services: Mapping[str, MeshService], force: bool
) -> Prepared:
    """What applying the documents of ``files`` would change."""
    once = {each.key: each for each in files.documents}
    changes = document_view.changes_of(view, once.values(), ())
    return _judged(view, changes, [*files.problems], services, force)


def prepare_deletion(
    view: DocumentView,
    files: ReadFiles,
    names: Iterable[DocumentName],
    services: Mapping[str, MeshService],
    force: bool,
) -> Prepared:
    """What deleting these would change. What is named in a file has to be readable, and no more."""
    keys = {each.key: None for each in files.documents} | {key_of(name): None for name in names}
    changes = document_view.changes_of(view, (), keys)
    return _judged(view, changes, [*files.problems], services, force)


def key_of(name: DocumentName) -> DocumentKey:
    """Raises INVALID for a kind that there is not."""
    kind = reading.form_of(name.kind)
    if kind is None:
        names = [form.name for form in FORMS.values()]
        text = f"there is no kind {name.kind!r}; {decoding.near(name.kind, names)}"
        raise AtollError(Code.INVALID, text, reason=Reason.PARAMETER_INVALID, facts={"parameter": "kind"})
    return DocumentKey(kind, hosts.namespace_of(name.namespace), name.name)


# ------------------------------------------------------------------------------------------------ judging


def _judged(
    view: DocumentView,
    changes: tuple[Change, ...],
    problems: list[Problem],
    services: Mapping[str, MeshService],
    force: bool,
) -> Prepared:
    """References are asked of what would be in force: of the documents of the order, and of others if they lose by it."""
    after = document_view.policies_after(view, changes)
    there = references.known(after, services)
    for each in changes:
        document = after.get(each.key) if each.read is not None else None
        if document is not None and each.read is not None:
            found = _findings(document, after.of_kind(each.key.kind), there)
            problems += [_at(each.read, finding, force) for finding in found]
    if not is_idle(changes):
        problems += _losses(view, changes, there, force)
    return Prepared(changes, tuple(problems), after, view.generation)


def _findings(document: Document[Any], others: Iterable[Document[Any]], there: Known) -> Iterator[Finding]:
    yield from references.check(document, there)
    yield from contradictions.check(document, others, there.policies)


def _losses(view: DocumentView, changes: Sequence[Change], there: Known, force: bool) -> Iterator[Problem]:
    """What was right about other documents until now."""
    before = msgspec.structs.replace(references.known(view.policies, there.services), suggests=False)
    there = msgspec.structs.replace(there, suggests=False)
    mine = {each.key for each in changes}
    was_mine = [each.before.document for each in changes if each.before is not None]
    is_mine = [found for each in changes if (found := there.policies.get(each.key)) is not None]
    for key, document in view.policies.documents.items():
        if key in mine:
            continue
        is_wrong = [each for each in _findings(document, is_mine, there) if each.severity is Severity.ERROR]
        was_wrong = [each.fault for each in _findings(document, was_mine, before)] if is_wrong else []
        yield from (_told(each, key, force) for each in is_wrong if each.fault not in was_wrong)


def _at(read: Read, finding: Finding, force: bool) -> Problem:
    return read.source.problem(finding.fault, read.key, _severity(finding, force))


def _told(finding: Finding, key: DocumentKey, force: bool = False) -> Problem:
    """Of a document that is in no file."""
    fault = finding.fault
    return Problem(
        fault.message,
        fault.suggestion,
        _severity(finding, force),
        document=str(key),
        path=reading.path_text(fault.path),
    )


def _severity(finding: Finding, force: bool) -> Severity:
    return Severity.WARNING if force else finding.severity


def standing_problems(document: Document[Any], there: Known) -> tuple[Problem, ...]:
    """What is wrong with a document that is in force, as things stand now."""
    others = there.policies.of_kind(document.key.kind)
    return tuple(_told(finding, document.key) for finding in _findings(document, others, there))


def is_idle(changes: Iterable[Change]) -> bool:
    """Whether there is nothing to write."""
    return not any(each.is_write for each in changes)
