"""How an objective is written for people: its formula, plain and in LaTeX, and what the compiler decides for it."""
