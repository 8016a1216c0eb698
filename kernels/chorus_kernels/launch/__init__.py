"""How kernels are launched one behind the other."""
