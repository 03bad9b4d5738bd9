"""New items answered for money: a limit that holds, faults of servers borne, what was paid for kept."""
