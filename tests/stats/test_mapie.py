"""The certificate held against MAPIE's risk control, an independent implementation of Learn then Test."""

import numpy as np
import pytest

from askless.stats.bounds import clopper_pearson

pytest.importorskip(
    "mapie", reason="MAPIE is not installed; its risk control is an independent check, and nothing that askless needs"
)


@pytest.mark.parametrize(("n", "eps"), [(100, 0.05), (300, 0.03), (1000, 0.01)])
def test_what_mapie_controls_is_certified_here_and_never_the_less_sure(n, eps):
    """Its Hoeffding-Bentkus p-value holds for any loss in [0, 1], so that it is never below the binomial one."""
    try:
        from mapie.risk_control.p_values import compute_hoeffding_bentkus_p_value as p_value
    except ImportError:
        from mapie.control_risk.p_values import compute_hoeffdding_bentkus_p_value as p_value
    lost = np.arange(round(2 * n * eps))
    theirs = np.ravel(p_value(lost / n, n, eps))
    ours = np.array([clopper_pearson(np.repeat([1.0, 0.0], [k, n - k]), eps, 0.05) for k in lost])
    assert (ours <= theirs * (1 + 1e-9)).all()
    assert (theirs <= 3 * ours + 1e-9)[ours > 1e-6].all()
