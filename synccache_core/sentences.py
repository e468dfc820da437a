"""Sentences for a person: English text that knows of what it was made, so that a front end can translate it."""


class Sentence(str):
    """key: the English sentence with its {places}, by which web/js/sentences.js finds it. values: what stands there."""

    key: str
    values: dict


def say(english: str, **values) -> Sentence:
    """values: numbers and texts as they are to be read, sentences, or lists of these, which are read with commas."""
    made = Sentence(english.format(**{name: _read(value) for name, value in values.items()}))
    made.key, made.values = english, values
    return made


def told(text: str) -> str | dict:
    """A text for a front end: a sentence as {"key", "values"}, with those among its values alike."""
    if not isinstance(text, Sentence):
        return text
    return {"key": text.key, "values": {name: _told(value) for name, value in text.values.items()}}


def _told(value):
    if isinstance(value, (list, tuple)):
        return [_told(each) for each in value]
    return told(value) if isinstance(value, str) else str(value)


def _read(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
