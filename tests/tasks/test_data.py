def test_probe(built):
    assert (built / "reports/olhs/metrics.json").exists()
