"""What somebody should hear of: every decision once, whoever made it."""

from tasks import telling
from tests.registry_data import registry_in

MODEL = "askless-olhs"


def test_decisions_of_a_command_line_are_told_too_each_once_by_one_clone(tmp_path, empty_store, monkeypatch):
    made, heard = [], []
    monkeypatch.setattr(telling, "history", lambda model: made[::-1])
    monkeypatch.setattr(telling, "emit_event", lambda event, about, payload: heard.append((event, payload["message"])))

    def decided(*verdicts):
        made.extend({"version": 3, "verdict": one, "by": "ann@here", "reason": "It errs."} for one in verdicts)
        telling.tell_decisions.fn("olhs", MODEL)
        return [event for event, _ in heard]

    with registry_in(tmp_path, empty_store) as client:
        client.create_registered_model(MODEL)
        assert decided("promoted", "refused") == ["askless-refused"], "of those before the first time the last"
        (tmp_path / "clone").mkdir()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlruns/mlflow.db'}")
        monkeypatch.chdir(tmp_path / "clone")
        assert decided() == ["askless-refused"]
        assert decided("restored", "promoted") == ["askless-refused", "askless-rolled-back", "askless-promoted"]
    assert heard[1][1] == "Version 3 of askless-olhs restored, by ann@here. It errs."
    assert {event for event, _ in heard} < set(telling.EVENTS)
