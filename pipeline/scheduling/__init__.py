"""Which waiting job goes to which free slot: a pure core, in credits and buckets (design §5).

`match.Scheduler` folds messages (`message`) and returns claims. It keeps what waits (`waiting`), who offers
what (`fleet`, with one `credit` account a holder), and which claims are unanswered (`claims`); `needs`
compares the two sides, `view` tells people. No clock, no random, no I/O: time arrives in messages.
May import `pipeline.messages` and `pipeline.identity` alone.
"""
