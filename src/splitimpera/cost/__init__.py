"""How long a part of the network takes: measured on this machine, scaled to each device."""
