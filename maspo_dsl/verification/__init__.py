"""What a spec becomes, held to what must be true of every objective: `maspo_dsl.verify`."""
