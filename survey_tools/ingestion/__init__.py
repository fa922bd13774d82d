"""Image sets that people have already, turned into stores."""
