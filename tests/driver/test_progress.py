"""Counting parts: live, plain and off."""

import re

import pytest

from lbpsi_driver import progress
from lbpsi_driver.config import UsageError


def counted(parts: int, total: int | None = None) -> None:
    with progress.count("label", parts if total is None else total) as advance:
        for number in range(parts):
            advance(f"frame {number}")


def test_plain_lines_every_tenth(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "plain")
    counted(40)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert 10 <= len(lines) <= 11
    shape = re.compile(r"label: \d+ % \d+/40 frame \d+, \d+:\d\d:\d\d left")
    assert all(shape.fullmatch(line) for line in lines)
    assert lines[-1] == "label: 100 % 40/40 frame 39, 0:00:00 left"


def test_few_parts_each_have_a_line(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "plain")
    counted(3)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["33", "67", "100"]


def test_live_shows_the_last(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "live")
    monkeypatch.setenv("COLUMNS", "120")
    counted(7)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(r"label .*100%.*7/7 frame 6", shown.err)
    # where it stops early it says how far it came, and leaves nothing live behind
    counted(2, total=8)
    assert re.search(r"label .*25%.*2/8 frame 1", capsys.readouterr().err)


def test_an_error_ends_the_display(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "live")
    with pytest.raises(KeyboardInterrupt), progress.count("fit", 3):
        raise KeyboardInterrupt
    counted(1)
    assert "1/1" in capsys.readouterr().err


@pytest.mark.parametrize(("chosen", "total"), [("off", 5), ("plain", 0), ("live", 0)])
def test_nothing_to_show(monkeypatch, capsys, chosen, total):
    monkeypatch.setenv(progress.VARIABLE, chosen)
    counted(total)
    assert capsys.readouterr().err == ""


def test_a_bad_choice_is_refused(monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, "loud")
    with pytest.raises(UsageError, match="LBPSI_PROGRESS=loud: expected plain, live or off"):
        counted(1)
