"""Networks: a trunk from a library, the main head and the auxiliary heads."""
