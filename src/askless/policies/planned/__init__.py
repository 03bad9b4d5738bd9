"""What `policies.planned` is made of: ways to ask one expert after another, and their operating points."""
