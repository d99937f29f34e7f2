target_sources(core PRIVATE io/ring.cc)
