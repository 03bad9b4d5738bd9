"""What asking will cost, what it did cost, and what it may not cost.

forecast, usage, pending   what answers will take before any is asked for
ledger                     the limit, and every call: open, paid, or in doubt since a kill or a lost reply
key_limits                 what a key may pay, a day and in all, over all ledgers of a user
billing                    one call to a server: reserved before it is made, paid or in doubt after it
call_price                 the most that a call can cost, and what it did
breaker                    when a failing server is left alone
guard                      an expensive expert behind all of these

A 429 is retried where requests are made, in `experts.remote`.
"""
