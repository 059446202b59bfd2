"""Objectives inside other people's trainers: one module a host over `shared`. None is imported with the package."""
