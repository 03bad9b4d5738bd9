"""The certificate held against MAPIE's risk control, an independent implementation of Learn then Test."""

import numpy as np
import pytest

from askless.stats.bounds import clopper_pearson

methods = pytest.importorskip("mapie.risk_control.methods", reason="MAPIE is not installed: pip install 'askless[dev]'")


@pytest.mark.parametrize(("n", "eps"), [(100, 0.05), (300, 0.03), (1000, 0.01)])
def test_what_mapie_controls_is_certified_here_and_never_the_less_sure(n, eps):
    """Its Hoeffding-Bentkus p-value holds for any loss in [0, 1], so that it is never below the binomial one."""
    lost = np.arange(round(2 * n * eps))
    theirs = np.ravel(methods.compute_hoeffding_bentkus_p_value(lost / n, n, eps))
    ours = np.array([clopper_pearson(np.repeat([1.0, 0.0], [k, n - k]), eps, 0.05) for k in lost])
    assert (ours <= theirs * (1 + 1e-9)).all()
    assert (theirs <= 3 * ours + 1e-9)[ours > 1e-6].all()
