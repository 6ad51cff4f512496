"""The errors of the engine.

DuetError
|-- PictureError      a picture cannot be used as it is
|   `-- ClipError         a clip cannot be used as it is
|-- QuestionError     a question cannot be used as it is
|-- PlanError         the numbers of a run do not fit the model
|-- TraceError        a stored trace cannot be read
|-- ConversationError a file of conversations to learn from cannot be used as it is
`-- ModelError        a model cannot be opened or cannot do what was asked
    |-- ModelNotFound     no such bundled name, folder or hub repository
    |-- ModelUnreachable  a hub name, but the hub cannot be reached
    |-- ModelTooLarge     the memory or the disk has no room for it
    `-- DownloadStopped   whoever waited for it has left

Each message is one sentence: what was wrong, the value, the limit, the next step.
"""

from __future__ import annotations


class DuetError(Exception):
    """Any error that the engine raises on purpose."""


class PictureError(DuetError):
    """A picture or clip cannot be used as it is."""


class ClipError(PictureError):
    """A clip, or the choice of its frames, cannot be used as it is."""


class QuestionError(DuetError):
    """A question cannot be used as it is."""


class PlanError(DuetError):
    """The numbers of a run do not fit the model."""


class TraceError(DuetError):
    """A stored trace cannot be read."""


class ConversationError(DuetError):
    """A file of conversations, or an entry of it, cannot be used as it is."""


class ModelError(DuetError):
    """A model cannot be opened or cannot do what was asked."""


class ModelNotFound(ModelError):  # noqa: N818  the name says it all
    """No bundled model, folder or hub repository has this name."""


class ModelUnreachable(ModelError):  # noqa: N818
    """The name looks like a hub repository, but the hub cannot be reached."""


class ModelTooLarge(ModelError):  # noqa: N818
    """The machine has not enough free memory or disk for this model."""


class DownloadStopped(ModelError):  # noqa: N818
    """A download was given up because nobody waits for it any more."""
