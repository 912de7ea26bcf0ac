"""The page is whole, needs no other file, and escapes what comes from outside."""

import re
from html.parser import HTMLParser

from audioldm2_jax.evaluation.report.html import Player, best_and_worst, page
from audioldm2_jax.evaluation.results import Figure
from tests.evaluation.test_results import result

EVIL = "<script>alert(1)</script>\"'&\u202egnp"
VOID = {"meta", "br"}


class Tags(HTMLParser):
    """All tags, checked to be nested; text of the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def full(name="clip", label="dog"):
    clips = [
        {"name": f"{name} {i}", "KL": i / 3, "caption": name, "silent": i == 0} for i in range(9)
    ]
    return result(
        generated=name,
        reference=name,
        clips=clips,
        figures=[Figure("FD", 3.0, 2.0, 4.0, 9, note=name), Figure("FAD_inf", 1.0, n=9)],
        per_class={label: [Figure("KL", 1.0, 0.5, 2.0, 4), Figure("FD", 2.0, n=4)]},
        ladders={"FD": [[4, 4.0], [9, 3.0]], "FAD_inf": [[4, 2.0], [9, 1.5]]},
        problems={
            "generated": {
                "silent": {"count": 30, "left_out": False, "rule": "kept", "names": [name]}
            }
        },
        warnings=[name],
        generation={"model": name},
    )


def test_the_page_has_all_parts_and_needs_nothing_else():
    clips = full().clips
    players = {
        c["name"]: Player("data:audio/mpeg;base64,AA", "data:audio/mpeg;base64,BB") for c in clips
    }
    tags = Tags(page(full(), players))
    names = [tag for tag, _ in tags.tags]
    assert names.count("audio") == 2 * 9  # 5 best, 4 worst: no clip twice
    assert names.count("svg") == 5
    for tag, attributes in tags.tags:
        assert tag not in ("script", "link", "img", "iframe")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if tag == "audio":
            assert attributes["aria-label"] and attributes["preload"] == "none"
    text = " ".join(tags.text)
    assert "and 29 more" in text and "3.000" in text and "2.000 .. 4.000" in text


def test_names_from_outside_are_escaped_everywhere():
    evil = full(EVIL, EVIL)
    players = {clip["name"]: Player("data:,") for clip in evil.clips}
    text = page(evil, players)
    tags = Tags(text)
    assert "script" not in [tag for tag, _ in tags.tags] and "\u202e" not in text
    assert not re.search(r"alert\(1\)</script>", text)
    assert sum(EVIL[:20] in value for value in tags.text) > 10


def test_best_and_worst_follow_the_metrics_direction():
    metric, best, worst = best_and_worst(full(), 2)
    assert metric == "KL"
    assert [c["KL"] for c in best] == [0, 1 / 3] and [c["KL"] for c in worst] == [8 / 3, 7 / 3]
    clips = [{"name": "a", "CLAP": 0.1}, {"name": "b", "CLAP": 0.4}, {"name": "c", "CLAP": None}]
    metric, best, worst = best_and_worst(result(clips=clips), 5)
    assert (metric, best, worst) == ("CLAP", [clips[1]], [clips[0]])
    assert best_and_worst(result(clips=[{"name": "a"}]), 5) == ("", [], [])


def test_a_result_without_clips_classes_or_curves_is_a_page():
    Tags(page(result(clips=[], per_class={}, ladders={}), {}))
