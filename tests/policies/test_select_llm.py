"""The published subset by text: what is no option of it, and whose votes count."""

import numpy as np
import pytest

from askless.errors import ConfigError
from askless.policies.select_llm import SelectLLM
from tests.policies.contract import labelled


def test_a_strength_that_is_none_is_refused():
    panel = labelled()
    with pytest.raises(ConfigError, match=r"^SelectLLM got strength 0\. Allowed: a number > 0\.$"):
        SelectLLM(panel.experts, strength=0.0).fit(panel, labelled(1))


def test_all_who_are_likely_to_be_right_are_asked_and_else_the_likeliest():
    panel = labelled(experts=3, blind=True, rows=slice(0, 3))
    policy = SelectLLM(panel.experts)
    done = policy.decide(panel, seen=np.array([[0.6, 0.5, 0.9], [0.2, 0.4, 0.3], [0.5, 0.5, 0.5]]))
    assert done.asked.tolist() == [[True, False, True], [False, True, False], [True, False, False]]
