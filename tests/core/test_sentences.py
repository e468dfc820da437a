"""Sentences that a front end may translate: text everywhere else."""

import copy
import json

from synccache_core.report.report import RunReport
from synccache_core.sentences import say, told


def test_a_sentence_is_text_that_knows_its_values():
    inner = say("{skipped} of {most} blocks", skipped=2, most=5)
    made = say("{what}: {error}", what=[say("the model"), inner], error="odd {braces}")
    assert made == "the model, 2 of 5 blocks: odd {braces}" and json.dumps(made) == f'"{made}"'
    assert told(made) == {
        "key": "{what}: {error}",
        "values": {
            "what": [{"key": "the model", "values": {}}, {"key": inner.key, "values": {"skipped": "2", "most": "5"}}],
            "error": "odd {braces}",
        },
    }
    assert told("plain") == "plain" and told(copy.deepcopy(made)) == told(made)


def test_a_report_holds_text_and_its_strip_sentences():
    note = say("no step is live: {speed}× leaves nothing beside the computed ones", speed="3")
    report = RunReport("toy", 7, 4, {}, notes=[note])
    assert json.loads(report.to_json())["notes"] == [str(note)]
    assert [told(line)["key"] for line in report.lines()] == [
        "{model}: {blocks} blocks, {refreshes} audio refreshes",
        "{steps} steps: {computed} computed, {reused} reused",
        "speed-up {ideal}× by operation count",
        "cache {held} in {groups} residuals × {branches} branches, order {order}",
        "note: {note}",
    ]
    assert report.summary().splitlines() == report.lines()
    assert report.live(4)["why"] == [{"key": "note: {note}", "values": {"note": told(note)}}]
