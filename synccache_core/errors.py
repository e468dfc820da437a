"""Every error that the core raises on purpose; each message names the field and both values."""


class SyncCacheError(Exception):
    """Base class, so that a host can show any of them as one sentence."""


class UnsupportedModel(SyncCacheError):
    """No adapter recognises the model: names the class found and the supported list."""


class BadConfig(SyncCacheError, ValueError):
    """A setting is outside its range."""


class BadMask(SyncCacheError, ValueError):
    """A human mask does not fit the video, or holds values that are no weights."""


class UnknownView(SyncCacheError):
    """A model has other tokens than its adapter expects, so that the video's are not known."""


class StateError(SyncCacheError, RuntimeError):
    """Calls came in an order that has no meaning (a model call outside an evaluation, a second attach)."""


class BadVideo(SyncCacheError, ValueError):
    """Videos cannot be compared: names both and what they hold."""


class BadInput(SyncCacheError, ValueError):
    """What a person or a file gave, such as a plan, is not usable: names the field, the value given and what is allowed."""


class BadDetector(SyncCacheError, ValueError):
    """A detector file cannot or must not be read; names the file."""
