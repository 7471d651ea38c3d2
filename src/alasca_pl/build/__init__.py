"""From a resolved config to data, module and trainer."""
