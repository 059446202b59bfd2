"""Training a policy with an objective: configuration, rollouts, updates, records. Imported part by part."""
