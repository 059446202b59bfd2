"""The compiled loss module."""
