"""`splitimpera doctor`."""

from __future__ import annotations

import json

from test_cli import here


def test_it_is_printed_for_people():
    told = here("doctor")
    assert (told.returncode, told.stderr) == (0, "")
    assert "[design]" in told.stdout
    assert "splitimpera scenario init" in told.stdout


def test_it_goes_with_the_report_of_a_fault():
    listed = json.loads(here("doctor", "--json").stdout)
    assert all(entry.keys() == {"name", "state", "found", "advice"} for entry in listed)
    assert listed[0]["name"] == "splitimpera"
