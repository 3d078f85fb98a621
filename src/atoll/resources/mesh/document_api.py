"""Policy documents over the node's API: orders, answers, questions.

Rule: documents travel as the text that their author wrote, with the name of its file, so that the node can say in which
line something is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from atoll.resources.mesh.documents.reading import Problem
from atoll.resources.mesh.hosts import DEFAULT_NAMESPACE

FILES_MAX = 200
TEXT_BYTES_MAX = 4_194_304  # of all files of an order

CREATED = "created"
CHANGED = "changed"
UNCHANGED = "unchanged"
DELETED = "deleted"
MISSING = "missing"  # was not there to be deleted


class FileText(msgspec.Struct, frozen=True):
    """``name``: as problems call it."""

    name: str
    text: str


class DocumentName(msgspec.Struct, frozen=True):
    """``kind``: any of its names, as ``VirtualService``, ``virtualservices`` or ``vs``."""

    kind: str
    name: str
    namespace: str = DEFAULT_NAMESPACE


class ApplyOrder(msgspec.Struct, frozen=True):
    """``namespace``: of documents that name none. ``force``: what they refer to need not be there, and what contradicts
    another document is written all the same. ``dry_run``: tell what would be, and write nothing.
    """

    files: Annotated[tuple[FileText, ...], msgspec.Meta(max_length=FILES_MAX)]
    namespace: str = DEFAULT_NAMESPACE
    force: bool = False
    dry_run: bool = False


class DeleteOrder(msgspec.Struct, frozen=True):
    """``names``, and every document that stands in ``files``. ``force``: although others refer to it."""

    files: Annotated[tuple[FileText, ...], msgspec.Meta(max_length=FILES_MAX)] = ()
    names: tuple[DocumentName, ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    force: bool = False
    dry_run: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """Of one document. ``hash8`` and ``before``: of its content now and until now, empty where there is none."""

    kind: str
    namespace: str
    name: str
    outcome: str
    hash8: str = ""
    before: str = ""


class Applied(msgspec.Struct, frozen=True):
    """``revision``: the store's after the last write; 0: nothing was written. ``warnings``: problems that did not keep it
    from being written.
    """

    documents: tuple[Outcome, ...]
    warnings: tuple[Problem, ...] = ()
    revision: int = 0
    dry_run: bool = False


class DocumentsAsked(msgspec.Struct, frozen=True):
    """Empty: any. ``namespace`` is not defaulted here."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class DocumentShown(msgspec.Struct, frozen=True):
    """``content``: the document itself. ``created`` and ``revision``: the store's, of its first and its last write.
    ``problems``: what its references and other documents say against it now.
    """

    kind: str
    namespace: str
    name: str
    hash8: str
    created: int
    revision: int
    content: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """Of one document between what is in force and an order; texts in YAML, empty where there is none."""

    kind: str
    namespace: str
    name: str
    outcome: str
    before: str = ""
    after: str = ""


class Differences(msgspec.Struct, frozen=True):
    documents: tuple[Difference, ...]
    problems: tuple[Problem, ...] = ()
