"""What somebody should hear of: every decision once, whoever made it."""

from tasks import telling


def test_decisions_of_a_command_line_are_told_too_each_once(tmp_path, monkeypatch):
    made, heard = [], []
    monkeypatch.setattr(telling, "history", lambda model: made[::-1])
    monkeypatch.setattr(telling, "emit_event", lambda event, about, payload: heard.append((event, payload["message"])))

    def decided(*verdicts):
        made.extend({"version": 3, "verdict": one, "by": "ann@here", "reason": "It errs."} for one in verdicts)
        telling.tell_decisions.fn("olhs", "askless-olhs", str(tmp_path / "log"))
        return [event for event, _ in heard]

    assert decided("promoted", "refused") == ["askless-refused"], "of those before the first time the last"
    assert decided() == ["askless-refused"]
    assert decided("rolled back", "restored") == ["askless-refused", "askless-rolled-back", "askless-restored"]
    assert heard[1][1] == "Version 3 of askless-olhs rolled back, by ann@here. It errs."
    assert {event for event, _ in heard} < set(telling.EVENTS)
