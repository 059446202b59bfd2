"""Settings of other trainers, and the spec that they mean. Needs neither those trainers nor torch."""
