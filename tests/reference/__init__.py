"""The shipped objectives once more, as plain float64 loops over sequences and tokens.

Written from the papers and from the authors' code, not from the specs: nothing of `maspo_dsl` is imported
here, so that agreement between the two means something. Gradients are derived by hand, token by token.

A batch is a mapping of numpy arrays with the names that `maspo_dsl` uses: `logp`, `logp_old`, `logp_ref`
`[N, T]` (natural log), `mask` `[N, T]` bool, `reward` `[N]`, `group` `[N]`, `advantage` `[N]` or `[N, T]`.
It is always a whole optimizer window, and at the same time its only micro-batch. `catalogue` has a
`Reference` for each objective, from one module a family.
"""
