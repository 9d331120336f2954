"""How fast networks and layers are: variants measured in turn, each checked for its numbers first, ratios, floors."""
