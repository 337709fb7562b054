"""How the page's script shows times: how far off, in the viewer's zone."""

from playwright.sync_api import Browser

from server.dashboard.rendering import STATIC

# A Sunday noon in Lisbon, where it is summer: UTC is an hour behind.
NOW = "2026-06-07T11:00:00Z"
CASES = [
    (NOW, "now"),
    ("2026-06-07T11:00:45Z", "in 45 s"),
    ("2026-06-07T10:58:03Z", "2 min ago"),
    ("2026-06-07T11:59:50Z", "in 1 h"),
    ("2026-06-07T12:57:00Z", "in 1 h 57 min"),
    ("2026-06-07T08:00:00Z", "3 h ago"),
    ("2026-06-08T08:50:00Z", "in 22 h"),
    ("2026-06-08T11:00:00Z", "tomorrow"),
    ("2026-06-08T22:59:00Z", "tomorrow"),
    ("2026-06-08T23:00:00Z", "in 2 days"),
    ("2026-06-09T10:30:00Z", "in 2 days"),
    ("2026-06-05T23:00:00Z", "yesterday"),
    ("2026-06-05T22:59:00Z", "2 days ago"),
    ("2026-06-13T11:00:00Z", "in 6 days"),
    ("2026-06-14T11:00:00Z", "Jun 14, 2026, 12:00 PM"),
]


def test_times_are_shown_by_how_far_off_they_are_and_by_the_calendar_of_the_viewer(
    chromium: Browser,
) -> None:
    page = chromium.new_page(timezone_id="Europe/Lisbon", locale="en-US")
    page.add_script_tag(path=STATIC / "app.js")
    shown = page.evaluate(
        "([now, moments]) => moments.map((at) => describeTime(new Date(at), new Date(now)))",
        [NOW, [moment for moment, _ in CASES]],
    )
    page.close()
    # Some versions put a narrow space before PM.
    assert [text.replace("\u202f", " ") for text in shown] == [text for _, text in CASES]
