"""How fast networks and layers are: sides measured in turn, each checked for its numbers first, ratios, floors."""
