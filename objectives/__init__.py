"""The shipped objectives, one `.obj` file each."""
