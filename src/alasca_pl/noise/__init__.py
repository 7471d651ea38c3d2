"""Models of wrong labels: from clean labels to observed ones."""
